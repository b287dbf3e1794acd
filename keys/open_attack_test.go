package keys

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAProgramNamedAfterAScheme: a library of sigstore's runs sigstore-kms-SCHEME from PATH for schemes that it does not
// know. Whoever can write a kitchen.toml, or a folder in PATH, must not get a program run by that: nothing is ever started.
func TestAProgramNamedAfterAScheme(t *testing.T) {
	dir := t.TempDir()
	ran := filepath.Join(dir, "ran")
	script := "#!/bin/sh\necho \"$0\" >>" + ran + "\n"
	for _, scheme := range []string{"attack", "AWSKMS", "awskms", "gcpkms", "azurekms", "hashivault", "pkcs11", "openbao", "https", "file"} {
		if err := os.WriteFile(filepath.Join(dir, "sigstore-kms-"+scheme), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	for _, name := range []string{"attack://key", "attack://", "AWSKMS:///alias/x", "openbao://key", "https://example.org/key", "file:///etc/key",
		"awskms://", "awskms:///nonsense", "awskms:alias/x", "gcpkms://projects/p", "azurekms://vault", "hashivault://a/b", "hashivault:eng", "pkcs11:", "pkcs11://token=x", "PKCS11:token=x;object=y"} {
		_, err := Open(t.Context(), name, password("story"))
		e, ok := errors.AsType[*BadName](err)
		if !ok {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if hint := e.Hint(); !strings.Contains(err.Error(), name) || !strings.Contains(hint, "pkcs11:token=") && !strings.Contains(hint, "kms://") && !strings.Contains(hint, "hashivault://") {
			t.Errorf("%v; %s", err, hint)
		}
		if err := CheckName(name); err == nil {
			t.Errorf("CheckName(%s)", name)
		}
	}
	for _, name := range []string{"exec:rm", "pkcs12:foo"} { // no "//", and no scheme of Kitchen's
		if _, err := Open(t.Context(), name, nil); !errors.As(err, new(*BadName)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	there := filepath.Join(dir, "a:b")
	for _, name := range []string{there, "./exec:rm", "C:\\key"} {
		if _, err := Open(t.Context(), name, nil); errors.As(err, new(*BadName)) {
			t.Errorf("%s is a file: %v", name, err)
		}
	}
	t.Chdir(dir)
	if err := os.WriteFile("exec:rm", []byte("a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := CheckName("exec:rm"); err != nil {
		t.Errorf("a file that is there: %v", err)
	}
	for _, name := range []string{"attack://key", "AWSKMS:///alias/x"} {
		_, err := Open(t.Context(), name, nil)
		var hinted interface{ Hint() string }
		if !errors.As(err, &hinted) {
			t.Fatal(err)
		}
		for _, h := range holders {
			if !strings.Contains(hinted.Hint(), h.scheme+":") {
				t.Errorf("%s: the hint does not name %s: %s", name, h.scheme, hinted.Hint())
			}
		}
	}
	if what, err := os.ReadFile(ran); err == nil {
		t.Errorf("ran %s", what)
	}
}

// TestAPINIsNeverShown: neither errors nor prompts repeat what a URI holds.
func TestAPINIsNeverShown(t *testing.T) {
	for _, name := range []string{
		"pkcs11:token=t;object=o?module-path=/nowhere/lib.so&pin-value=sesame",
		"pkcs11:token=t;object=o?pin-value=sesame&module-path=/nowhere/lib.so",
		"pkcs11:token=t?module-path=/nowhere/lib.so&pin-value=sesame",
		"pkcs11:token=t;object=o?module-path=/nowhere/lib.so&pin-value=sesame&pin-source=/x",
		"attack://x?pin-value=sesame",
	} {
		_, err := Open(context.Background(), name, func(asked string) ([]byte, error) {
			if strings.Contains(asked, "sesame") {
				t.Errorf("asked %s", asked)
			}
			return nil, errors.New("none")
		})
		if err == nil || strings.Contains(err.Error(), "sesame") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
