//go:build !linux

package main

func askHugePages(int) {}
