package keys

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
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

// signingVariable names the key with which the test binary signs a statement to stdout, instead of running tests: the
// libraries look at proxies and trusted certificates once a process.
const signingVariable = "KEYS_TEST_SIGN"

func TestMain(m *testing.M) {
	uri, given := os.LookupEnv(signingVariable)
	if !given {
		os.Exit(m.Run())
	}
	s, err := Open(context.Background(), uri, nil)
	var bundle []byte
	if err == nil {
		bundle, err = SignStatement(context.Background(), s, []byte(statement))
	}
	var away *Unavailable
	switch {
	case errors.As(err, &away):
		fmt.Fprintf(os.Stderr, "%v\nhint: %s\n", err, away.Hint())
		os.Exit(6)
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Stdout.Write(bundle)
	os.Exit(0)
}

// cloud signs with keys of services that are found by the names of hosts.
type cloud struct {
	t   *testing.T
	env []string
}

func newCloud(t *testing.T, host string, service http.Handler, env ...string) cloud {
	t.Helper()
	web, err := keystest.StartWeb(map[string]http.Handler{host: service})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(web.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	write(t, ca, web.CA())
	return cloud{t, append([]string{"PATH=", "HOME=" + t.TempDir(), "HTTPS_PROXY=" + web.Proxy(), "SSL_CERT_FILE=" + ca, "SSL_CERT_DIR=/nowhere"}, env...)}
}

func (c cloud) sign(uri string) (stdout, stderr string) {
	c.t.Helper()
	var out, said strings.Builder
	cmd := exec.CommandContext(c.t.Context(), os.Args[0])
	cmd.Env, cmd.Stdout, cmd.Stderr = append(c.env, signingVariable+"="+uri), &out, &said
	if err := cmd.Run(); err != nil && cmd.ProcessState.ExitCode() != 6 {
		c.t.Errorf("%s: %v\n%s", uri, err, said.String())
	}
	return out.String(), said.String()
}

func (c cloud) signs(uri string, key crypto.PublicKey) {
	c.t.Helper()
	bundle, said := c.sign(uri)
	want, err := NewPublic(key)
	if err != nil {
		c.t.Fatal(err)
	}
	if have, err := VerifyStatement([]byte(bundle), want); err != nil || string(have) != statement {
		c.t.Errorf("%s: %q, %v\n%s", uri, have, err, said)
	}
}

func (c cloud) refuses(uri string, says ...string) {
	c.t.Helper()
	bundle, said := c.sign(uri)
	for _, word := range append(says, uri) {
		if !strings.Contains(said, word) {
			c.t.Errorf("%s: it does not say %q: %s", uri, word, said)
		}
	}
	if bundle != "" {
		c.t.Errorf("%s: signed %s", uri, bundle)
	}
}

// TestGoogleCloudSigns through the library that the URI leads to, over gRPC and TLS, with a key that stays at the service.
func TestGoogleCloudSigns(t *testing.T) {
	t.Parallel()
	key := p256(t)
	account, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(account)
	if err != nil {
		t.Fatal(err)
	}
	credentials, err := json.Marshal(map[string]string{"type": "service_account", "project_id": "p", "private_key_id": "1", "client_email": "k@p.iam.gserviceaccount.com",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": "https://oauth2.googleapis.com/token"})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "account.json")
	write(t, file, credentials)
	c := newCloud(t, keystest.GoogleHost, keystest.Google(key), "GOOGLE_APPLICATION_CREDENTIALS="+file)
	c.signs("gcpkms://"+keystest.GoogleKey, key.Public())
	c.refuses("gcpkms://"+strings.Replace(keystest.GoogleKey, "kitchen", "none", 1), "Google Cloud KMS gives no public key", "not found", "hint: check the key's name")
	c.refuses("gcpkms://"+strings.Replace(keystest.GoogleKey, "/r/", "/denied/", 1), "Google Cloud KMS gives no public key", "Permission 'cloudkms.cryptoKeys.get' denied", "cloudkms.signerVerifier")
	c.env = append(c.env, "GOOGLE_APPLICATION_CREDENTIALS="+file+".gone")
	c.refuses("gcpkms://"+keystest.GoogleKey, file+".gone", "GOOGLE_APPLICATION_CREDENTIALS")
}

// TestAzureSigns through the library that the URI leads to, over TLS, with a key that stays at the service and the token
// of the host's identity.
func TestAzureSigns(t *testing.T) {
	t.Parallel()
	key := p256(t)
	identity := httptest.NewServer(keystest.AzureIdentity("host"))
	defer identity.Close()
	c := newCloud(t, keystest.AzureHost, keystest.Azure(key), "IDENTITY_ENDPOINT="+identity.URL, "IDENTITY_HEADER=host")
	uri := "azurekms://" + keystest.AzureHost
	c.signs(uri+"/kitchen", key.Public())
	c.signs(uri+"/kitchen/1", key.Public())
	c.refuses(uri+"/none", "Azure Key Vault gives no public key", "not found", "hint: check the names of vault and key")
	c.refuses(uri+"/denied", "Azure Key Vault gives no public key", "does not have keys get permission", "the rights get and sign")
	c.env = append(c.env, "IDENTITY_HEADER=another")
	c.refuses(uri+"/kitchen", "Azure Key Vault gives no public key", "AZURE_TENANT_ID")
}
