package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/backend"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
)

const (
	rootAccess = "kitchen-root"
	rootSecret = "kitchen-root-secret" // of a server that listens on loopback and serves test data
	region     = "us-east-1"
)

type server struct {
	address    string // 127.0.0.1:PORT
	caFile     string
	config     embedgw.Config
	backend    backend.Backend
	users      auth.IAMService
	commandOut *os.File
}

func newServer(dir string, port int) (*server, error) {
	buckets, users := filepath.Join(dir, "buckets"), filepath.Join(dir, "users")
	for _, d := range []string{buckets, users} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	tlsFiles, err := certificates(dir)
	if err != nil {
		return nil, err
	}
	address, err := pickAddress(port)
	if err != nil {
		return nil, err
	}
	root := auth.Account{Access: rootAccess, Secret: rootSecret, Role: auth.RoleAdmin}
	iam, err := auth.NewInternal(root, users)
	if err != nil {
		return nil, err
	}
	be, err := newBackend(dir, buckets)
	if err != nil {
		return nil, err
	}
	return &server{
		address: address, caFile: tlsFiles.ca, backend: be, users: iam, commandOut: os.NewFile(1, "stdout"),
		config: embedgw.Config{
			RootUserAccess: rootAccess, RootUserSecret: rootSecret, Region: region,
			Ports: []string{address}, CertFile: tlsFiles.cert, KeyFile: tlsFiles.key,
			MaxConnections: 1000, MaxRequests: 500, MultipartMaxParts: 10000,
			KeepAlive: true, Quiet: true, IAMService: iam,
		},
	}, nil
}

// newBackend keeps the objects' metadata in extended attributes, or beside the objects where there are none.
func newBackend(dir, buckets string) (backend.Backend, error) {
	opts := posix.PosixOpts{Concurrency: 500}
	if (meta.XattrMeta{}).Test(buckets) == nil {
		return posix.New(buckets, meta.XattrMeta{}, opts)
	}
	opts.SideCarDir = filepath.Join(dir, "metadata")
	if err := os.MkdirAll(opts.SideCarDir, 0o700); err != nil {
		return nil, err
	}
	sidecar, err := meta.NewSideCar(opts.SideCarDir)
	if err != nil {
		return nil, err
	}
	return posix.New(buckets, sidecar, opts)
}

func pickAddress(port int) (string, error) {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// start runs the server; the channel gives its error when it ends.
func (s *server) start(ctx context.Context) <-chan error {
	failed := make(chan error, 1)
	go func() { failed <- embedgw.RunVersityGW(ctx, s.backend, &s.config) }()
	return failed
}

func (s *server) awaitReady(ctx context.Context, failed <-chan error) error {
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} // only asks whether somebody listens
	for range 1000 {
		if c, err := dialer.DialContext(ctx, "tcp", s.address); err == nil {
			return c.Close()
		}
		select {
		case err := <-failed:
			return fmt.Errorf("server ended: %w", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	return errors.New("server does not listen after 10 seconds")
}

func (s *server) env() []string {
	return []string{
		"AWS_ACCESS_KEY_ID=" + rootAccess,
		"AWS_SECRET_ACCESS_KEY=" + rootSecret,
		"AWS_REGION=" + region,
		"SSL_CERT_FILE=" + s.caFile,
		"AWS_CA_BUNDLE=" + s.caFile,
		"KITCHEN_TEST_S3_ENDPOINT=https://" + s.address,
	}
}

func (s *server) makeBucket(ctx context.Context, name string) error {
	acl, err := json.Marshal(auth.ACL{Owner: rootAccess})
	if err != nil {
		return err
	}
	err = s.backend.CreateBucket(ctx, &s3.CreateBucketInput{
		Bucket:                    &name,
		ObjectOwnership:           types.ObjectOwnershipBucketOwnerEnforced,
		CreateBucketConfiguration: &types.CreateBucketConfiguration{},
	}, acl)
	if _, statErr := os.Stat(name); err != nil && statErr == nil {
		return nil // there already, as after a restart
	}
	return err
}

func (s *server) makeUser(access, secret string) error {
	return s.users.CreateAccount(auth.Account{Access: access, Secret: secret, Role: auth.RoleUser})
}

func (s *server) setPolicy(ctx context.Context, bucket, policy string) error {
	if err := auth.ValidatePolicyDocument([]byte(policy), bucket, s.users); err != nil {
		return err
	}
	return s.backend.PutBucketPolicy(ctx, bucket, []byte(policy))
}
