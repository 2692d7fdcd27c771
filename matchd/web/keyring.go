package web

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/matchd/matchd/matchd/fault"
)

// maxKeyRing is the size of a key ring's file in bytes.
const maxKeyRing = 1 << 20

// KeyRing signs with the first key of an OpenPGP key ring.
type KeyRing struct {
	signer *openpgp.Entity
}

// OpenKeyRing reads a key ring of private keys, binary or in ASCII armour, such as "gpg --export-secret-keys" writes, and unlocks its first
// key. Errors name the file and are of kind Invalid; none holds the passphrase.
func OpenKeyRing(file, passphrase string) (*KeyRing, error) {
	data, err := readKeyRing(file)
	if err != nil {
		return nil, fmt.Errorf("reading the key ring: %w", err)
	}
	ring, err := parseKeyRing(data, passphrase)
	if err != nil {
		return nil, fault.New(fault.Invalid, "opening the key ring %s: %w", file, err)
	}
	return ring, nil
}

func readKeyRing(file string) ([]byte, error) {
	opened, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	data, err := io.ReadAll(io.LimitReader(opened, maxKeyRing+1))
	if err == nil && len(data) > maxKeyRing {
		err = fault.New(fault.Invalid, "%s has more than %d bytes", file, maxKeyRing)
	}
	return data, err
}

func parseKeyRing(data []byte, passphrase string) (*KeyRing, error) {
	read := openpgp.ReadKeyRing
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("-----BEGIN PGP")) {
		read = openpgp.ReadArmoredKeyRing
	}
	entities, err := read(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	if len(entities) == 0 {
		return nil, errors.New("it holds no key")
	}
	ring := &KeyRing{signer: entities[0]}
	if ring.signer.PrivateKey == nil {
		return nil, errors.New("its first key is a public one: export it with gpg --export-secret-keys")
	}
	if err := ring.unlock(passphrase); err != nil {
		return nil, err
	}
	// Now rather than at a machine's first question: an expired key, or one that may not sign.
	if _, err := ring.Sign([]byte("matchd"), false); err != nil {
		return nil, fmt.Errorf("trying a signature: %w", err)
	}
	return ring, nil
}

// unlock decrypts the private parts that signatures can be made with.
func (k *KeyRing) unlock(passphrase string) error {
	keys := []*packet.PrivateKey{k.signer.PrivateKey}
	for i := range k.signer.Subkeys {
		if key := k.signer.Subkeys[i].PrivateKey; key != nil && key.CanSign() {
			keys = append(keys, key)
		}
	}
	for _, key := range keys {
		if !key.Encrypted || key.Dummy() {
			continue
		}
		if passphrase == "" {
			return errors.New("its first key is locked and no passphrase is given")
		}
		if err := key.Decrypt([]byte(passphrase)); err != nil {
			return errors.New("the passphrase does not unlock its first key")
		}
	}
	return nil
}

// Sign returns a detached signature in text mode (RFC 9580 section 5.2.1.2, type 0x01) with SHA-256, as matchbox's are.
func (k *KeyRing) Sign(content []byte, armored bool) ([]byte, error) {
	var signature bytes.Buffer
	sign := openpgp.DetachSignText
	if armored {
		sign = openpgp.ArmoredDetachSignText
	}
	config := &packet.Config{DefaultHash: crypto.SHA256, Time: time.Now}
	if err := sign(&signature, k.signer, bytes.NewReader(content), config); err != nil {
		return nil, fault.New(fault.Unavailable, "signing: %w", err)
	}
	return signature.Bytes(), nil
}
