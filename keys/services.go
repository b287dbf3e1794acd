//go:build !nokeyservices

package keys

import (
	"bytes"
	"context"
	"crypto"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms/aws"
	"github.com/sigstore/sigstore/pkg/signature/kms/azure"
	"github.com/sigstore/sigstore/pkg/signature/kms/gcp"
	"github.com/sigstore/sigstore/pkg/signature/kms/hashivault"
	"github.com/sigstore/sigstore/pkg/signature/options"
)

// The key services, by the libraries that cosign has for them, so that the URIs and the credentials are cosign's. They are
// called by name: sigstore's kms.Get would run a program called sigstore-kms-SCHEME for a scheme that it does not know.
// The contexts that they keep never end, because some use them for later calls.
var (
	awsKMS = holder{
		scheme: "awskms", title: "AWS KMS", form: "awskms://[ENDPOINT]/KEY-ID-OR-alias/NAME-OR-ARN", valid: aws.ValidReference,
		check: "check the key's name, AWS_REGION and the credentials (AWS_PROFILE, AWS_ACCESS_KEY_ID, or the host's role), which need kms:GetPublicKey, kms:DescribeKey and kms:Sign",
		open: service(func(ctx context.Context, name string) (signature.SignerVerifier, error) {
			return aws.LoadSignerVerifier(ctx, name)
		}),
	}
	gcpKMS = holder{
		scheme: "gcpkms", title: "Google Cloud KMS", valid: gcp.ValidReference,
		form:  "gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/N",
		check: "check the key's name and the credentials (GOOGLE_APPLICATION_CREDENTIALS, `gcloud auth application-default login`, or the host's service account), which need cloudkms.signerVerifier and cloudkms.viewer",
		open: service(func(ctx context.Context, name string) (signature.SignerVerifier, error) {
			return gcp.LoadSignerVerifier(ctx, name)
		}),
	}
	azureKMS = holder{
		scheme: "azurekms", title: "Azure Key Vault", form: "azurekms://VAULT.vault.azure.net/KEY[/VERSION]", valid: azure.ValidReference,
		check: "check the names of vault and key and the credentials (AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, `az login`, or the host's identity), which need the rights get and sign on keys",
		open: service(func(ctx context.Context, name string) (signature.SignerVerifier, error) {
			return azure.LoadSignerVerifier(ctx, name)
		}),
	}
	vault = holder{
		scheme: "hashivault", title: "Vault", form: "hashivault://KEY", valid: hashivault.ValidReference,
		check: "check VAULT_ADDR, VAULT_TOKEN, the key's name, and TRANSIT_SECRET_ENGINE_PATH where the transit engine is not at transit; the token needs read on keys/KEY and update on sign/KEY",
		open: service(func(_ context.Context, name string) (signature.SignerVerifier, error) {
			return hashivault.LoadSignerVerifier(name, crypto.SHA256)
		}),
	}
)

// service opens a key with one of sigstore's libraries.
func service(load func(ctx context.Context, name string) (signature.SignerVerifier, error)) func(context.Context, string, PasswordFunc) (crypto.PublicKey, signFunc, error) {
	return func(ctx context.Context, name string, _ PasswordFunc) (crypto.PublicKey, signFunc, error) {
		sv, err := load(context.WithoutCancel(ctx), name)
		if err != nil {
			return nil, nil, err
		}
		key, err := sv.PublicKey(options.WithContext(ctx))
		if err != nil {
			return nil, nil, err
		}
		return key, func(ctx context.Context, message []byte) ([]byte, error) {
			return sv.SignMessage(bytes.NewReader(message), options.WithContext(ctx))
		}, nil
	}
}
