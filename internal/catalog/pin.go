package catalog

import (
	"encoding/json"
	"maps"
	"slices"
)

// pin names one root by version and digest.
type pin struct {
	Version int64  `json:"version"`
	SHA256  string `json:"sha256"`
}

// pins are all roots that must be part of the chain: version → digest. There is one in the usual case; two when
// the configuration and the state directory began at different versions of the same chain.
type pins map[int64]string

// add joins another pin; source says in words whose it is. *PinMismatch when the same version is pinned otherwise.
func (p pins) add(other pin, source string) error {
	if want, ok := p[other.Version]; ok && want != other.SHA256 {
		return &PinMismatch{Version: other.Version, Have: fingerprintPrefix + other.SHA256, Want: fingerprintPrefix + want, Source: source}
	}
	p[other.Version] = other.SHA256
	return nil
}

// first is the pin of the lowest version, where the walk begins.
func (p pins) first() pin {
	version := slices.Min(slices.Collect(maps.Keys(p)))
	return pin{version, p[version]}
}

// check holds one root of the chain to the pins.
func (p pins) check(version int64, root []byte, source string) error {
	return p.clone().add(pin{version, sha256Hex(root)}, source)
}

// reached tells that a chain that ends at version last contains every pinned root.
func (p pins) reached(last int64) error {
	for version, digest := range p {
		if version > last {
			return &PinMismatch{Version: version, Want: fingerprintPrefix + digest, Source: "the catalog's chain of roots ends before it"}
		}
	}
	return nil
}

func (p pins) clone() pins { return maps.Clone(p) }

// readPin gives the remembered pin, or says in words why there is none.
func (s stateDir) readPin() (pin, string) {
	data, ok := s.read(pinFile, maxSmall)
	if !ok {
		return pin{}, "no " + pinFile
	}
	var p pin
	body, err := openChecked(data)
	if err == nil {
		err = json.Unmarshal(body, &p)
	}
	if err != nil || p.Version < 1 || len(p.SHA256) != 64 {
		return pin{}, "a damaged " + pinFile
	}
	return p, ""
}

// writePin remembers the pin, if it is not the one remembered already.
func (s stateDir) writePin(p pin) error {
	if old, problem := s.readPin(); problem == "" && old == p {
		return nil
	}
	body, err := json.Marshal(p)
	if err != nil {
		return err
	}
	data, err := sealChecked(body)
	if err != nil {
		return err
	}
	return s.write(pinFile, data)
}
