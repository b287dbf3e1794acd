package manifest

import (
	"fmt"
	"strings"
)

// The stages a release passes through; each is a directory of target paths.
// A certificate for one customer lives in StageReadyFor(customer).
const (
	StageCatalog   = "catalog" // shown to people as "published"
	StageValidated = "validated"
	StageReady     = "ready-to-deploy"
	StageRecalled  = "recalled"
)

// Roles that exist once in a catalog.
const (
	RoleRegistry = "registry"
	RolePolicy   = "policy"
	RoleJournal  = "journal"
)

const (
	kindProduct  = "product"
	manifestName = "manifest.toml"
	maxTarget    = 512
)

// RoleProduct is the role of the release engineers of product p.
func RoleProduct(p string) string { return kindProduct + "." + p }

// RoleValidated is the role of the vendor's CI for product p.
func RoleValidated(p string) string { return StageValidated + "." + p }

// RoleReady is the role that certifies product p for every customer.
func RoleReady(p string) string { return StageReady + "." + p }

// RoleReadyFor is the role that certifies product p for customer c alone.
func RoleReadyFor(p, c string) string { return StageReady + "." + p + "." + c }

// RoleRecalled is the role that stops releases of product p.
func RoleRecalled(p string) string { return StageRecalled + "." + p }

// StageReadyFor is the stage of certificates for customer c alone.
func StageReadyFor(c string) string { return StageReady + "." + c }

// SplitRole takes the name of a delegated role apart. kind is "product",
// "validated", "ready-to-deploy", "recalled", "registry", "policy" or
// "journal"; product and customer are empty where the kind has none. For any
// other name all three are empty.
func SplitRole(role string) (kind, product, customer string) {
	kind, rest, scoped := strings.Cut(role, ".")
	switch kind {
	case RoleRegistry, RolePolicy, RoleJournal:
		if !scoped {
			return kind, "", ""
		}
	case kindProduct, StageValidated, StageRecalled:
		if CheckName("product", rest) == nil {
			return kind, rest, ""
		}
	case StageReady:
		product, customer, forOne := strings.Cut(rest, ".")
		if CheckName("product", product) == nil && (!forOne || CheckName("customer", customer) == nil) {
			return kind, product, customer
		}
	}
	return "", "", ""
}

// RoleStage is the stage whose releases a role lists: "catalog" for
// product.<p>, "ready-to-deploy.<c>" for ready-to-deploy.<p>.<c>. It is empty
// for a role that lists no releases.
func RoleStage(role string) string {
	kind, _, customer := SplitRole(role)
	switch {
	case kind == kindProduct:
		return StageCatalog
	case customer != "":
		return StageReadyFor(customer)
	case kind == StageValidated, kind == StageReady, kind == StageRecalled:
		return kind
	}
	return ""
}

// StageRole is the role that lists a product's releases in a stage, the
// inverse of RoleStage. It is empty for an unknown stage.
func StageRole(stage, product string) string {
	switch stage {
	case StageCatalog:
		return RoleProduct(product)
	case StageValidated, StageReady, StageRecalled:
		return stage + "." + product
	}
	if base, customer, ok := strings.Cut(stage, "."); ok && base == StageReady && customer != "" {
		return RoleReadyFor(product, customer)
	}
	return ""
}

// RolePaths is the TUF path pattern list a delegation of this role carries
// ("catalog/openstack/*/*"), nil for a name that is no delegated role of Kitchen.
func RolePaths(role string) []string {
	kind, product, _ := SplitRole(role)
	switch kind {
	case "":
		return nil
	case RoleRegistry, RolePolicy, RoleJournal:
		return []string{kind + "/*"}
	}
	return []string{RoleStage(role) + "/" + product + "/*/*"}
}

// TargetPath is the TUF target path of a release's manifest in a stage:
// "catalog/openstack/2.1.0/manifest.toml".
func TargetPath(stage string, r Release) string {
	return stage + "/" + r.Product + "/" + r.Version + "/" + manifestName
}

// ParseTargetPath is the inverse of TargetPath; it accepts nothing else.
func ParseTargetPath(path string) (stage string, r Release, err error) {
	part := strings.Split(path, "/")
	if len(path) > maxTarget || len(part) != 4 || part[3] != manifestName {
		return "", Release{}, fmt.Errorf("target path %q is not STAGE/PRODUCT/VERSION/%s", clip(path), manifestName)
	}
	r = Release{Product: part[1], Version: part[2]}
	if err := r.check(); err != nil {
		return "", Release{}, fmt.Errorf("target path %q: %w", clip(path), err)
	}
	if err := checkStage(part[0]); err != nil {
		return "", Release{}, fmt.Errorf("target path %q: %w", clip(path), err)
	}
	return part[0], r, nil
}

func checkStage(stage string) error {
	switch stage {
	case StageCatalog, StageValidated, StageReady, StageRecalled:
		return nil
	}
	if customer, ok := strings.CutPrefix(stage, StageReady+"."); ok {
		return CheckName("customer", customer)
	}
	return fmt.Errorf("unknown stage %q", clip(stage))
}

// RegistryTarget is the target path of a customer's registry entry: "registry/acme.toml".
func RegistryTarget(customer string) string { return "registry/" + customer + ".toml" }

// PolicyTarget is the target path of the certification policy.
const PolicyTarget = "policy/policy.toml"

// TargetObject is the object key of a target with consistent snapshots (TUF
// 1.0 §3.6.2): the digest stands before the file's own name, as in
// "targets/catalog/openstack/2.1.0/<sha256>.manifest.toml".
func TargetObject(targetPath, sha256hex string) string {
	slash := strings.LastIndexByte(targetPath, '/') + 1
	return "targets/" + targetPath[:slash] + sha256hex + "." + targetPath[slash:]
}
