//go:build !linux

package proc

import "errors"

var errLinux = errors.New("only Linux tells")

// SameFile says that only Linux tells.
func SameFile(uint32, int32, uint32, int32) (bool, error) { return false, errLinux }

// StillRefers says that only Linux tells.
func StillRefers(uint32, int32, uint32, int32, uint32) (bool, error) { return false, errLinux }

// Protocol says that only Linux tells.
func Protocol(uint32, int32) (string, error) { return "", errLinux }

// Hidden says that nothing is.
func Hidden(uint32) bool { return false }
