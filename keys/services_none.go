//go:build nokeyservices

package keys

// A small kitchen knows the key services by their schemes and no more: their libraries are a third of all packages.
var (
	awsKMS   = withoutService("awskms", "AWS KMS")
	gcpKMS   = withoutService("gcpkms", "Google Cloud KMS")
	azureKMS = withoutService("azurekms", "Azure Key Vault")
	vault    = withoutService("hashivault", "Vault")
)

func withoutService(scheme, title string) holder {
	return holder{scheme: scheme, title: title, form: scheme + "://…",
		lacks: &BadName{Reason: "this kitchen is built without key services", hint: "take the one that has them: make build (bin/kitchen)"}}
}
