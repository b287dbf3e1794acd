// Package storagetest holds what tests of a store, and of whatever writes to one, need: the conformance suite that
// every store passes (Run, RunReader), a store that fails on command (Faults), a network that does (HTTPFaults),
// and a real S3 server (StartS3). Only tests import it.
package storagetest
