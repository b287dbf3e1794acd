package publisher

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"fmt"
)

const (
	sealKey  = 32 // bytes
	sealSize = 16 // bytes of one seal
)

// seals are authenticators of the frames of one stored object, each at its position: GMAC (NIST SP 800-38D §3) under a key that
// is this object's alone, with the position as the nonce. A frame that has its seal is the one that was sealed, without the
// rest of the object being read. They are made where an object is packed, or was read whole and is what its manifest says, raw and
// stored: so what has a seal unpacks to its chunk, whoever packed it. They are for whoever made them: the key is kept beside them.
// Seals are added by one at a time.
type seals struct {
	key  []byte
	aead cipher.AEAD
	all  []byte // one after the other
}

func newSeals() (*seals, error) {
	key := make([]byte, sealKey)
	rand.Read(key) // never fails: it ends the process instead
	return sealsOf(key, nil)
}

func sealsOf(key, all []byte) (*seals, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	return &seals{key: key, aead: aead, all: all}, err
}

// add seals the next frame.
func (s *seals) add(frame []byte) {
	var room [sealSize]byte // the library takes just what it needs, each time anew, where there is none
	s.all = append(s.all, s.aead.Seal(room[:0], sealNonce(len(s.all)/sealSize), nil, frame)...)
}

// fit tells whether the frame at a position has its seal.
func (s *seals) fit(at int, frame []byte) bool {
	_, err := s.aead.Open(nil, sealNonce(at), s.all[at*sealSize:][:sealSize], frame)
	return err == nil
}

func sealNonce(at int) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 4, 12), uint64(at))
}

// encode gives the key and the seals; see parseSeals.
func (s *seals) encode() []byte { return append(s.key[:sealKey:sealKey], s.all...) }

// parseSeals reads the seals of an object of so many frames.
func parseSeals(b []byte, frames int) (*seals, error) {
	if len(b) != sealKey+frames*sealSize {
		return nil, fmt.Errorf("%d bytes of seals for %d frames", len(b), frames)
	}
	return sealsOf(b[:sealKey], b[sealKey:])
}
