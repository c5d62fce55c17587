package haproxy

import (
	"testing"

	"drawbridge.dev/drawbridge/render/model"
)

// TestCertificateLeftHalfDone finds what an agent leaves that dies between giving HAProxy a certificate and committing
// it: HAProxy has one such transaction for all certificates, and refuses every other one while it is open.
func TestCertificateLeftHalfDone(t *testing.T) {
	r := run(t, nil)
	trusted := authority(t)
	a := site(t, echo("a"))
	path := r.dir.path(certFolder) + "/n_left.pem"
	left, err := newCertificate(model.Certificate{ID: "n/left", PEM: trusted.issuePEM(t, "left.test")})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.worker.says(t.Context(), "new ssl cert "+path, nil, "New empty certificate store"); err != nil {
		t.Fatal(err)
	}
	if err := r.worker.says(t.Context(), "set ssl cert "+path, []byte(left.text), "Transaction "); err != nil {
		t.Fatal(err)
	}
	h := host("one.test", prefix("/", to("n/s", a)))
	h.Certificate = "n/one"
	r.serve(&model.Model{Hosts: []model.Host{h}, Certificates: []model.Certificate{{ID: "n/one", PEM: trusted.issuePEM(t, "one.test")}}}, nil)
	if got, _ := r.shown("one.test"); got != "one.test" {
		t.Errorf("shown %q", got)
	}
	known, err := r.knownCertificates(t.Context())
	if err != nil || known[path] {
		t.Errorf("what was left half done is still known: %v, %v", known, err)
	}
}

// TestListThatFailsHalfWay goes back to the state before a change of which one line was made and the next was not.
func TestListThatFailsHalfWay(t *testing.T) {
	r := run(t, nil)
	trusted := authority(t)
	a := site(t, echo("a"))
	m := &model.Model{}
	for _, name := range []string{"a", "ghost", "one"} {
		h := host(name+".test", prefix("/", to("n/s", a)))
		h.Certificate = "n/" + name
		m.Hosts = append(m.Hosts, h)
		m.Certificates = append(m.Certificates, model.Certificate{ID: h.Certificate, PEM: trusted.issuePEM(t, h.Name)})
	}
	before := &model.Model{Hosts: m.Hosts[2:], Certificates: m.Certificates[2:]}
	r.serve(before, nil)
	after, _ := Render(m, nil)
	// HAProxy is believed to have one certificate that it does not.
	r.loaded["n_ghost.pem"] = after.certificates[1]
	if _, err := r.Apply(t.Context(), after); err == nil {
		t.Fatal("a line for a certificate that is not there was made")
	}
	r.serve(before, nil)
	if got, _ := r.shown("a.test"); got != "default.invalid" {
		t.Errorf("a.test: shown %q", got)
	}
	r.serve(m, nil)
	if got, _ := r.shown("ghost.test"); got != "ghost.test" {
		t.Errorf("ghost.test: shown %q", got)
	}
}
