package keys

import (
	"errors"
	"strings"
	"testing"
)

const module = "?module-path=/usr/lib/softhsm/libsofthsm2.so"

// TestTokenURIs: RFC 7512 as far as it names one key; every other URI is refused with its reason.
func TestTokenURIs(t *testing.T) {
	u, err := parseTokenURI("pkcs11:token=my%20token;serial=0a1b;object=r%c3%a9lease;id=%01%ff;type=private;model=x;manufacturer=y" + module + "&pin-source=/run/pin")
	if err != nil {
		t.Fatal(err)
	}
	if u.token != "my token" || u.serial != "0a1b" || string(u.object) != "rélease" || string(u.id) != "\x01\xff" || u.module != "/usr/lib/softhsm/libsofthsm2.so" || u.pinSource != "/run/pin" {
		t.Errorf("%+v", u)
	}
	if u, err := parseTokenURI("pkcs11:slot-id=7;object=a+b" + module); err != nil || *u.slot != 7 || string(u.object) != "a+b" {
		t.Errorf("%+v, %v", u, err)
	}
	for uri, says := range map[string]string{
		"pkcs11:": "names no token", "pkcs11:object=x" + module: "names no token", "pkcs11:token=t" + module: "names no key",
		"pkcs11:token=t;object=o": "names no library", "pkcs11:token=t;object=o?module-path=lib.so": "absolute", "pkcs11:token=t;object=o?module-name=x": "module-name",
		"pkcs11:token=t;token=u;object=o" + module: "token twice", "pkcs11:token=%zz;object=o" + module: "percent", "pkcs11:token=my token;object=o" + module: "percent",
		"pkcs11:slot-id=x;object=o" + module: "no number", "pkcs11:token=t;object=o;type=cert" + module: "type", "pkcs11:token=t;object=o;colour=red" + module: "colour",
		"pkcs11:token=t;object=o" + module + "&pin-value=1&pin-source=/x": "pin-value and a pin-source", "pkcs11:token=t;object=o" + module + "&pin-source=pin": "absolute", "pkcs11://token=t;object=o" + module: "//token",
	} {
		_, err := Open(t.Context(), uri, nil)
		if _, ok := errors.AsType[*BadName](err); !ok || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v; want %q", uri, err, says)
		}
	}
	for _, file := range []string{"keys/eng.key", "./pkcs11:x", "a:b", "C:\\key", "", ":", "x y://z"} {
		if IsURI(file) {
			t.Errorf("%q is a file", file)
		}
	}
}

// FuzzTokenURI: any text is a URI of one key or an error, and no PIN is shown.
func FuzzTokenURI(f *testing.F) {
	for _, seed := range []string{"pkcs11:token=t;object=o" + module, "pkcs11:id=%01;slot-id=1" + module + "&pin-value=sesame", "pkcs11:", "pkcs11:;;;?&&", "pkcs11:token=%"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := parseTokenURI(text)
		if (u == nil) != (err != nil) {
			t.Fatalf("%v with %v", u, err)
		}
		if err != nil {
			return
		}
		if u.token == "" && u.serial == "" && u.slot == nil || len(u.object)+len(u.id) == 0 || !strings.HasPrefix(u.module, "/") {
			t.Fatalf("%q is %+v", text, u)
		}
		if len(u.pinValue) > 5 && strings.Contains(Shown(text), "pin-value="+u.pinValue) {
			t.Fatalf("%q shows its PIN", text)
		}
	})
}
