package haproxy

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // it identifies, as HAProxy prints it; nothing trusts it
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"drawbridge.dev/drawbridge/render/model"
)

// maxPEM leaves room in a command for the name of the file.
const maxPEM = maxCommand - 600

// certificate is one that has been parsed, with the text that HAProxy gets.
type certificate struct {
	id Token
	// source is the text that it was made from.
	source model.Secret
	// text has the chain and then the key, written anew block by block: nothing but base64 between its lines, and no
	// empty line, which would end the payload of a command and begin another.
	text model.Secret
	// leaf is by what HAProxy tells certificates apart when it is asked what it has.
	leaf [sha1.Size]byte
	// names are the DNS names of the certificate in lower case, those that are fit for a list.
	names []Token
	// origin tells whose it is when HAProxy refuses it.
	origin model.Origin
}

// fileOf is a certificate's name in the folder of certificates. A name of Kubernetes has no '_', so that no two IDs
// come to the same; it ends with .pem, as HAProxy makes something of other endings, such as .key.
func fileOf(id Token) string { return strings.Replace(id.text, "/", "_", 1) + ".pem" }

// newCertificate checks what HAProxy would otherwise stumble over when it starts: one certificate that it can't load
// keeps it from all.
func newCertificate(g model.Certificate) (certificate, error) {
	id, err := CertificateID(g.ID)
	if err != nil {
		return certificate{}, err
	}
	// The errors of these packages name types and algorithms, never bytes of the key.
	pair, err := tls.X509KeyPair([]byte(g.PEM), []byte(g.PEM))
	if err != nil {
		return certificate{}, fmt.Errorf("certificate %q: %w", g.ID, err)
	}
	for _, der := range pair.Certificate {
		parsed, err := x509.ParseCertificate(der)
		if err != nil {
			return certificate{}, fmt.Errorf("certificate %q: %w", g.ID, err)
		}
		if err := strong(parsed); err != nil {
			return certificate{}, fmt.Errorf("certificate %q: %w", g.ID, err)
		}
	}
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		return certificate{}, fmt.Errorf("certificate %q: %w", g.ID, err)
	}
	c := certificate{id: id, leaf: sha1.Sum(pair.Certificate[0]), source: g.PEM, text: model.Secret(encode(pair.Certificate, key)), origin: g.Origin}
	if len(c.text) > maxPEM {
		return certificate{}, fmt.Errorf("certificate %q: must have at most %d bytes with its chain and key, not %d; leave the root out of the chain", g.ID, maxPEM, len(c.text))
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return certificate{}, fmt.Errorf("certificate %q: %w", g.ID, err)
	}
	for _, name := range leaf.DNSNames {
		if t, err := Hostname(strings.ToLower(name)); err == nil {
			c.names = append(c.names, t)
		}
	}
	slices.SortFunc(c.names, func(a, b Token) int { return strings.Compare(a.text, b.text) })
	c.names = slices.Compact(c.names)
	return c, nil
}

// strong refuses what OpenSSL does at its security level 2, the usual one.
func strong(c *x509.Certificate) error {
	switch key := c.PublicKey.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < 2048 {
			return fmt.Errorf("an RSA key must have at least 2048 bits, this one has %d", key.N.BitLen())
		}
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P224() {
			return errors.New("an EC key must be of curve P-256, P-384 or P-521")
		}
	case ed25519.PublicKey:
	default:
		return errors.New("its key must be RSA, EC or Ed25519")
	}
	return nil
}

func encode(chain [][]byte, key []byte) []byte {
	var b bytes.Buffer
	for _, der := range chain {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	b.Write(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	return b.Bytes()
}

// dummy makes the certificate for names that nobody has. It verifies for no name, and its key is of this run only.
func dummy(now time.Time) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "drawbridge: no certificate for this name"},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(10, 0, 0),
		DNSNames:     []string{"default.invalid"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return encode([][]byte{der}, pkcs8), nil
}

func (s State) has(host string) bool {
	_, found := slices.BinarySearchFunc(s.fragments, host, func(f fragment, host string) int { return strings.Compare(f.host, host) })
	return found
}

// binding is a line of the certificate list: who asks for this name gets that certificate.
type binding struct{ name, id Token }

// bindings lists the names and their certificates, sorted by name, each name once. A host that names its certificate
// has it. The certificate of rules without a host serves its own names, as far as no host has them: otherwise a
// tenant could take another's name by putting it into a certificate of his own.
func (s State) bindings() []binding {
	byID := make(map[string]*certificate, len(s.certificates))
	for i := range s.certificates {
		byID[s.certificates[i].id.text] = &s.certificates[i]
	}
	var list []binding
	for _, f := range s.fragments {
		if c := byID[f.certificate]; c != nil && f.host != "" {
			list = append(list, binding{f.name, c.id})
		}
	}
	if len(s.fragments) > 0 && s.fragments[0].host == "" {
		if c := byID[s.fragments[0].certificate]; c != nil {
			for _, name := range c.names {
				if !s.has(name.text) {
					list = append(list, binding{name, c.id})
				}
			}
		}
	}
	slices.SortFunc(list, func(a, b binding) int { return strings.Compare(a.name.text, b.name.text) })
	return list
}
