// Package testserver pins the two foreign programs that Kitchen's tests run: the S3 server (versitygw, wrapped by
// ./s3server) and sigstore's cosign command. It is a module of its own, so that what they depend on stays out of
// Kitchen's go.mod.
//
//	go -C internal/testserver build -o ../../.cache/bin/s3server ./s3server
//	go -C internal/testserver build -o ../../.cache/bin/cosign github.com/sigstore/cosign/v2/cmd/cosign
package testserver
