package keystest

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"hash/crc32"
	"net/http"
	"strings"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// GoogleHost is where Google Cloud KMS is.
const GoogleHost = "cloudkms.googleapis.com"

// GoogleKey is the one key version that Google has, as in gcpkms://GoogleKey. The key ring "denied" is denied.
const GoogleKey = "projects/p/locations/global/keyRings/r/cryptoKeys/kitchen/cryptoKeyVersions/1"

// Google speaks as much of Google Cloud KMS as signing needs, over gRPC: GetCryptoKey, GetCryptoKeyVersion, GetPublicKey,
// AsymmetricSign, with their checksums.
func Google(key crypto.Signer) http.Handler {
	server := grpc.NewServer()
	kmspb.RegisterKeyManagementServiceServer(server, &googleKMS{key: key})
	return server
}

type googleKMS struct {
	kmspb.UnimplementedKeyManagementServiceServer
	key crypto.Signer
}

func (g *googleKMS) find(name string) error {
	switch {
	case strings.Contains(name, "/keyRings/denied/"):
		return status.Error(codes.PermissionDenied, "Permission 'cloudkms.cryptoKeys.get' denied on resource '"+name+"' (or it may not exist).")
	case name != GoogleKey && !strings.HasPrefix(GoogleKey, name+"/"):
		return status.Error(codes.NotFound, "CryptoKey "+name+" not found.")
	}
	return nil
}

func (g *googleKMS) GetCryptoKey(_ context.Context, in *kmspb.GetCryptoKeyRequest) (*kmspb.CryptoKey, error) {
	return &kmspb.CryptoKey{Name: in.Name, Purpose: kmspb.CryptoKey_ASYMMETRIC_SIGN}, g.find(in.Name)
}

func (g *googleKMS) GetCryptoKeyVersion(_ context.Context, in *kmspb.GetCryptoKeyVersionRequest) (*kmspb.CryptoKeyVersion, error) {
	return &kmspb.CryptoKeyVersion{Name: in.Name, State: kmspb.CryptoKeyVersion_ENABLED, Algorithm: kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256}, g.find(in.Name)
}

func (g *googleKMS) GetPublicKey(_ context.Context, in *kmspb.GetPublicKeyRequest) (*kmspb.PublicKey, error) {
	der, err := x509.MarshalPKIXPublicKey(g.key.Public())
	if err != nil {
		return nil, err
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	return &kmspb.PublicKey{Name: in.Name, Pem: text, Algorithm: kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256}, g.find(in.Name)
}

func (g *googleKMS) AsymmetricSign(_ context.Context, in *kmspb.AsymmetricSignRequest) (*kmspb.AsymmetricSignResponse, error) {
	digest := in.GetDigest().GetSha256()
	if in.Name != GoogleKey || len(digest) != crypto.SHA256.Size() {
		return nil, status.Error(codes.InvalidArgument, "the key version signs SHA-256 digests")
	}
	sum := func(data []byte) int64 { return int64(crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))) }
	signature, err := g.key.Sign(rand.Reader, digest, crypto.SHA256)
	if err != nil {
		return nil, err
	}
	return &kmspb.AsymmetricSignResponse{Name: in.Name, Signature: signature, SignatureCrc32C: wrapperspb.Int64(sum(signature)),
		VerifiedDigestCrc32C: in.DigestCrc32C != nil && in.DigestCrc32C.Value == sum(digest)}, nil
}
