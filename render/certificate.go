package render

import (
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"drawbridge.dev/drawbridge/render/model"
)

// maxID bounds "namespace/secret", of which a proxy makes the name of a file.
const maxID = 250

// keyPair is what a TLS Secret holds.
type keyPair struct {
	pem  model.Secret
	leaf *x509.Certificate
	err  error
}

// certificateFor chooses the certificate of a host: of those that its Ingresses name, oldest Ingress first, the first
// that is whole.
func (b *builder) certificateFor(host string, ingresses []*ingress) (*model.Certificate, []Problem) {
	var chosen *model.Certificate
	var all []Problem
	for _, in := range ingresses {
		var problems []Problem
		for _, i := range in.tlsFor(host) {
			entry := &in.object.Spec.TLS[i]
			field := func() string { return "spec.tls[" + strconv.Itoa(i) + "]" }
			// Hosts times entries may be a million: what will not be listed is not put into words.
			tell := func(kind Kind, words ...string) {
				if len(problems) <= maxListed {
					problems = append(problems, Problem{kind, b.origin("Ingress", in.name, field()), line(strings.Join(words, ""))})
				}
			}
			if in.denied.any() {
				if denied := in.denied.of(field()); len(denied) > 0 {
					tell(Denied, "certificate is left out: ", strings.Join(denied, "; "))
					continue
				}
			}
			n := name{Namespace: in.name.Namespace, Name: entry.SecretName}
			switch {
			case n.Name == "":
				tell(BadCertificate, "must name a Secret; there is no default certificate")
				continue
			case !isName(n.Name) || len(n.String()) > maxID:
				tell(BadCertificate, "'", n.Name, "' must be the name of a Secret")
				continue
			}
			pair := b.keyPair(n)
			if pair.err != nil {
				tell(BadCertificate, "Secret '", n.Name, "' ", pair.err.Error())
				continue
			}
			if chosen != nil {
				if chosen.ID != n.String() {
					tell(Conflict, "host '", host, "' already has the certificate '", chosen.ID, "'")
				}
				continue
			}
			chosen = &model.Certificate{ID: n.String(), PEM: pair.pem, Origin: b.origin("Ingress", in.name, field())}
			if host != "" && pair.leaf.VerifyHostname(strings.Replace(host, "*.", "any.", 1)) != nil {
				tell(Notice, "certificate in Secret '", n.Name, "' does not bear the host '", host, "'")
			}
		}
		all = append(all, abridge(problems, b.origin("Ingress", in.name, "spec.tls"))...)
	}
	return chosen, all
}

func (b *builder) keyPair(n name) *keyPair {
	if known := b.pairs[n]; known != nil {
		return known
	}
	pair := &keyPair{err: errors.New("must exist and be of type 'kubernetes.io/tls'")}
	if secret := b.snapshot.secrets.get(n); secret != nil {
		pair.pem, pair.leaf, pair.err = readKeyPair(secret)
	}
	b.pairs[n] = pair
	return pair
}

// readKeyPair checks a TLS Secret and writes it anew: leaf, chain, key, without headers, comments or empty lines. What
// OpenSSL refuses at its security level 2 (the default of Debian and others) is refused here, because one such
// certificate would otherwise keep a proxy from loading all of them. No error quotes what the Secret holds.
func readKeyPair(secret *corev1.Secret) (model.Secret, *x509.Certificate, error) {
	pair, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return "", nil, errors.New("must hold a certificate in `tls.crt` and its key in `tls.key`, both PEM")
	}
	var out strings.Builder
	for i, der := range pair.Certificate {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return "", nil, fmt.Errorf("has a broken certificate in `tls.crt`, number %d", i+1)
		}
		if key, ok := cert.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() < 2048 {
			return "", nil, fmt.Errorf("has an RSA key of %d bits in `tls.crt`, certificate number %d; must be 2048 at least", key.N.BitLen(), i+1)
		}
		if isWeak(cert.SignatureAlgorithm) && !slices.Equal(cert.RawSubject, cert.RawIssuer) {
			return "", nil, fmt.Errorf("has a certificate in `tls.crt`, number %d, that is signed with %s; must be SHA-256 or better", i+1, cert.SignatureAlgorithm)
		}
		if err := pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
			return "", nil, errors.New("can not be written as PEM")
		}
	}
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		return "", nil, errors.New("has a key in `tls.key` of a kind that is not supported; must be RSA, ECDSA or Ed25519")
	}
	if err := pem.Encode(&out, &pem.Block{Type: "PRIVATE KEY", Bytes: key}); err != nil {
		return "", nil, errors.New("can not be written as PEM")
	}
	return model.Secret(out.String()), pair.Leaf, nil
}

func isWeak(a x509.SignatureAlgorithm) bool {
	switch a {
	case x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1, x509.UnknownSignatureAlgorithm:
		return true
	}
	return false
}
