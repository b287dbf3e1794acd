package storage

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

// credentialError is a source of credentials that was named but does not work.
type credentialError struct {
	source string
	err    error
}

func (e *credentialError) Error() string {
	return fmt.Sprintf("no credentials from %s: %v", e.source, e.err)
}
func (e *credentialError) Unwrap() error { return e.err }

// credentialSource is one place to look. A named one was asked for by the environment: its failure is an error,
// that of the others means to look on.
type credentialSource struct {
	name     string
	named    bool
	provider credentials.Provider
}

// credentialChain takes the first source that has credentials. Without any it is anonymous, and stays so: the
// instance's metadata service is not asked for every call.
type credentialChain struct {
	sources   []credentialSource
	current   credentials.Provider
	anonymous bool
}

// s3Credentials looks in the order of the AWS tools: environment, shared file, web identity or container, instance.
func s3Credentials(opts Options, region string) *credentials.Credentials {
	c := &credentialChain{}
	if id, secret := opts.getenv("AWS_ACCESS_KEY_ID"), opts.getenv("AWS_SECRET_ACCESS_KEY"); id != "" && secret != "" {
		return credentials.NewStaticV4(id, secret, opts.getenv("AWS_SESSION_TOKEN"))
	}
	if file, ok := sharedFile(opts); ok {
		c.sources = append(c.sources, file)
	}
	role := &credentials.IAM{Client: roleClient(), Region: region}
	role.EKSIdentity.TokenFile = opts.getenv("AWS_WEB_IDENTITY_TOKEN_FILE")
	role.EKSIdentity.RoleARN = opts.getenv("AWS_ROLE_ARN")
	role.EKSIdentity.RoleSessionName = opts.getenv("AWS_ROLE_SESSION_NAME")
	role.Container.AuthorizationToken = opts.getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN")
	role.Container.CredentialsFullURI = opts.getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI")
	role.Container.CredentialsRelativeURI = opts.getenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
	switch {
	case role.EKSIdentity.TokenFile != "":
		c.sources = append(c.sources, credentialSource{"the web identity (AWS_WEB_IDENTITY_TOKEN_FILE)", true, role})
	case role.Container.CredentialsFullURI != "" || role.Container.CredentialsRelativeURI != "":
		c.sources = append(c.sources, credentialSource{"the container's role", true, role})
	case opts.Getenv != nil && opts.getenv("AWS_EC2_METADATA_DISABLED") != "true":
		c.sources = append(c.sources, credentialSource{"the instance's role", false, role})
	}
	return credentials.New(c)
}

// sharedFile is ~/.aws/credentials and ~/.aws/config, or the file and profile that the environment names.
func sharedFile(opts Options) (credentialSource, bool) {
	file, profile := opts.getenv("AWS_SHARED_CREDENTIALS_FILE"), opts.getenv("AWS_PROFILE")
	named := file != "" || profile != ""
	if !named {
		home := opts.getenv("HOME")
		_, err := os.Stat(filepath.Join(home, ".aws"))
		if home == "" || err != nil {
			return credentialSource{}, false
		}
	}
	p := &credentials.FileAWSCredentials{Filename: file, Profile: profile}
	return credentialSource{"the shared AWS file (AWS_SHARED_CREDENTIALS_FILE, AWS_PROFILE)", named, p}, true
}

// roleClient does not wait long for a metadata service that is not there.
func roleClient() *http.Client {
	dial := &net.Dialer{Timeout: time.Second}
	return &http.Client{
		Timeout:   10 * time.Second,
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: dial.DialContext, ResponseHeaderTimeout: 5 * time.Second},
	}
}

// RetrieveWithCredContext implements credentials.Provider.
func (c *credentialChain) RetrieveWithCredContext(cc *credentials.CredContext) (credentials.Value, error) {
	for _, s := range c.sources {
		v, err := s.provider.RetrieveWithCredContext(cc)
		if err == nil && v.AccessKeyID != "" && v.SecretAccessKey != "" {
			c.current = s.provider
			return v, nil
		}
		if s.named {
			return credentials.Value{}, &credentialError{s.name, orNone(err)}
		}
	}
	c.anonymous = true
	return credentials.Value{SignerType: credentials.SignatureAnonymous}, nil
}

func orNone(err error) error {
	if err == nil {
		return errors.New("it holds none")
	}
	return err
}

// Retrieve implements credentials.Provider.
func (c *credentialChain) Retrieve() (credentials.Value, error) {
	return c.RetrieveWithCredContext(nil)
}

// IsExpired implements credentials.Provider.
func (c *credentialChain) IsExpired() bool {
	if c.anonymous {
		return false
	}
	return c.current == nil || c.current.IsExpired()
}
