// Package tools pins the programs that `make lint` and `make vulncheck` run, and has the one that `make advisories`
// runs. It is a module of its own, so that what they depend on stays out of Kitchen's go.mod.
package tools
