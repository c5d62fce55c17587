package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// CA is a certificate authority that lives as long as its test.
type CA struct {
	PEM     []byte // the CA's certificate
	PEMFile string // a file that holds PEM

	t           TB
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	dir         string

	mu     sync.Mutex
	issued int64
}

// Certificate is a leaf and its key.
type Certificate struct {
	CertPEM, KeyPEM   []byte
	CertFile, KeyFile string // files that hold them, readable by their owner alone
	TLS               tls.Certificate
}

// NewCA makes an authority with an ECDSA P-256 key.
func NewCA(t TB) *CA {
	t.Helper()
	c := &CA{t: t, dir: Dir(t), key: newKey(t)}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(now.UnixNano()),
		Subject:               pkix.Name{CommonName: "lab CA " + strconv.FormatInt(now.UnixNano(), 36)},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, c.key.Public(), c.key)
	if err != nil {
		t.Fatalf("making a CA: %v", err)
	}
	if c.certificate, err = x509.ParseCertificate(der); err != nil {
		t.Fatalf("making a CA: %v", err)
	}
	c.PEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	c.PEMFile = c.write("ca.pem", c.PEM)
	return c
}

// Pool returns a pool that holds the CA alone.
func (c *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(c.certificate)
	return pool
}

// Issue makes a certificate for DNS names (wildcards too) and IP addresses, for servers and clients alike, valid for a
// day. The first name is the common name as well.
func (c *CA) Issue(names ...string) *Certificate {
	c.t.Helper()
	if len(names) == 0 {
		c.t.Fatalf("a certificate must have a name")
	}
	c.mu.Lock()
	c.issued++
	serial := c.issued
	c.mu.Unlock()
	key := newKey(c.t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{CommonName: names[0]},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.certificate, key.Public(), c.key)
	if err != nil {
		c.t.Fatalf("issuing a certificate for %v: %v", names, err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		c.t.Fatalf("issuing a certificate for %v: %v", names, err)
	}
	leaf := &Certificate{
		CertPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		KeyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}
	if leaf.TLS, err = tls.X509KeyPair(leaf.CertPEM, leaf.KeyPEM); err != nil {
		c.t.Fatalf("issuing a certificate for %v: %v", names, err)
	}
	prefix := strconv.FormatInt(serial, 10)
	leaf.CertFile = c.write(prefix+".crt", leaf.CertPEM)
	leaf.KeyFile = c.write(prefix+".key", leaf.KeyPEM)
	return leaf
}

func (c *CA) write(name string, content []byte) string {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		c.t.Fatalf("%v", err)
	}
	return path
}

func newKey(t TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatalf("making a key: %v", err)
	}
	return key
}
