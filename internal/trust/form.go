package trust

import (
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Form is what a role file says, whoever signed it.
type Form struct {
	Version int64
	Expires time.Time
	Targets *Targets        // nil for root and snapshot
	Roles   map[string]Meta // of a snapshot
}

// ParseForm holds a file of "root", "snapshot", "targets" or a delegated role to the form that readers of a Kitchen
// catalog ask for. It verifies no signature, so that nothing in the file may be believed: it is for old versions,
// whose keys may be gone. Errors are *Error.
func ParseForm(role string, file []byte) (Form, error) {
	form, err := parseForm(role, file)
	if err != nil {
		return Form{}, &Error{Kind: Malformed, Role: role, Err: err}
	}
	if form.Targets != nil {
		return form, checkSaysRole(role, form.Targets)
	}
	return form, nil
}

func parseForm(role string, file []byte) (Form, error) {
	switch role {
	case RoleRoot:
		o, err := open[metadata.RootType](role, file)
		if err != nil {
			return Form{}, err
		}
		r, err := rootOf(&o.signed)
		if err != nil {
			return Form{}, err
		}
		return Form{Version: r.Version, Expires: r.Expires}, checkCatalogRoot(r)
	case RoleSnapshot:
		o, err := open[metadata.SnapshotType](role, file)
		if err != nil {
			return Form{}, err
		}
		s, err := snapshotOf(&o.signed)
		if err != nil {
			return Form{}, err
		}
		return Form{Version: s.Version, Expires: s.Expires, Roles: s.Roles}, checkCatalogSnapshot(s)
	}
	o, err := open[metadata.TargetsType](RoleTargets, file)
	if err != nil {
		return Form{}, err
	}
	t, err := targetsOf(&o.signed)
	if err != nil {
		return Form{}, err
	}
	return Form{Version: t.Version, Expires: t.Expires, Targets: t}, checkCatalogContent(t)
}
