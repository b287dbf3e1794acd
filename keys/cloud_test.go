package keys

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/enovance/kitchen/keys/keystest"
)

func setenv(t *testing.T, pairs ...string) {
	t.Helper()
	for _, pair := range pairs {
		name, value, _ := strings.Cut(pair, "=")
		t.Setenv(name, value)
	}
}

// TestAWSSigns through the library that the URI leads to, over TLS, with a key that stays at the service.
func TestAWSSigns(t *testing.T) {
	key := p256(t)
	a := keystest.StartAWS(key)
	defer a.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	write(t, ca, a.CA())
	setenv(t, "AWS_CA_BUNDLE="+ca, "AWS_REGION=eu-west-1", "AWS_ACCESS_KEY_ID=right", "AWS_SECRET_ACCESS_KEY=x", "AWS_SESSION_TOKEN=", "AWS_PROFILE=", "AWS_CONFIG_FILE=/nowhere",
		"AWS_SHARED_CREDENTIALS_FILE=/nowhere", "AWS_MAX_ATTEMPTS=1")
	uri := "awskms://" + a.Host() + "/alias/"
	s, err := Open(t.Context(), uri+"kitchen", nil)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := NewPublic(key.Public())
	if have, err := VerifyStatement(signed(t, s), want); err != nil || string(have) != statement {
		t.Errorf("%q, %v", have, err)
	}
	refused := func(err error, says string) {
		t.Helper()
		e, ok := errors.AsType[*Unavailable](err)
		if !ok || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "AWS KMS") || !strings.Contains(e.Hint(), "AWS_REGION") {
			t.Errorf("%v; want %q", err, says)
		}
	}
	_, err = Open(t.Context(), uri+"none", nil)
	refused(err, "NotFoundException")
	agreement, err := Open(t.Context(), uri+"agreement", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = agreement.Sign(t.Context(), []byte("x")) // the library indexes an empty list of algorithms
	refused(err, "makes no sense")
	t.Setenv("AWS_ACCESS_KEY_ID", "denied")
	_, err = Open(t.Context(), uri+"kitchen", nil)
	refused(err, "AccessDeniedException")
	t.Setenv("AWS_CA_BUNDLE", "")
	t.Setenv("AWS_ACCESS_KEY_ID", "right")
	_, err = Open(t.Context(), uri+"kitchen", nil)
	refused(err, "certificate")
}

// TestGoogleCloudWithoutCredentials: the URI leads to the library, which wants credentials. That Google Cloud's service
// signs is NOT covered: nothing stands in for it here.
func TestGoogleCloudWithoutCredentials(t *testing.T) {
	gone := filepath.Join(t.TempDir(), "gone.json")
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", gone)
	const uri = "gcpkms://projects/p/locations/global/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1"
	s, err := Open(t.Context(), uri, nil)
	e, ok := errors.AsType[*Unavailable](err)
	if !ok || s != nil || !strings.Contains(err.Error(), gone) || !strings.Contains(err.Error(), uri) || !strings.Contains(e.Hint(), "GOOGLE_APPLICATION_CREDENTIALS") {
		t.Errorf("%v", err)
	}
}

// TestAzureAsksTheVaultOfTheURI: the URI leads to the library, which turns to the host that it names. That Azure's service
// signs is NOT covered: the library takes tokens of Azure's own authority only.
func TestAzureAsksTheVaultOfTheURI(t *testing.T) {
	host, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		if conn, err := host.Accept(); err == nil {
			conn.Close()
			cancel() // it came; it would come again
		}
	}()
	s, err := Open(ctx, "azurekms://"+host.Addr().String()+"/eng", nil)
	e, ok := errors.AsType[*Unavailable](err)
	if !ok || s != nil || !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "Azure Key Vault") || !strings.Contains(e.Hint(), "AZURE_TENANT_ID") {
		t.Errorf("%v", err)
	}
}
