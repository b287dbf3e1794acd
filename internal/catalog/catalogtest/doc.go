// Package catalogtest makes small catalogs for tests, quickly: keys in memory, metadata written straight through
// trust and storage, without the publisher. It can also write what no honest publisher would.
//
// A World is one catalog with every private key at hand. Its changes gather in Roles and Registry until Commit
// signs what changed and swaps the timestamp; the named changes (Publish, Validate, …) commit by themselves.
package catalogtest
