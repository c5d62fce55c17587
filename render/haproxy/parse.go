package haproxy

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"drawbridge.dev/drawbridge/render/model"
)

// Parse reads a map back, as it stands in the file or as 'show map' prints it: the hosts, sorted, with their routes
// and addresses. What a map doesn't hold is left empty: names that were resolved, certificates, origins.
func Parse(text []byte) (model.Model, error) {
	entries, err := parseEntries(text)
	if err != nil {
		return model.Model{}, err
	}
	byKey := make(map[string]string, len(entries))
	for _, e := range entries {
		if _, ok := byKey[e.key.text]; ok {
			return model.Model{}, fmt.Errorf("key %q is there twice", e.key.text)
		}
		byKey[e.key.text] = e.value.text
	}
	p := parser{byKey: byKey, hosts: make(map[string]*model.Host)}
	for _, e := range entries {
		if err := p.read(e.key.text, e.value.text); err != nil {
			return model.Model{}, fmt.Errorf("key %q: %w", e.key.text, err)
		}
	}
	m := model.Model{Default: p.otherwise}
	for _, h := range p.hosts {
		slices.SortFunc(h.Routes, func(a, b model.Route) int {
			return cmp.Or(strings.Compare(a.Path, b.Path), cmp.Compare(a.Match, b.Match))
		})
		m.Hosts = append(m.Hosts, *h)
	}
	slices.SortFunc(m.Hosts, func(a, b model.Host) int { return strings.Compare(a.Name, b.Name) })
	return m, nil
}

// parseEntries splits lines into keys and values; 'show map' puts a pointer before both.
func parseEntries(text []byte) ([]entry, error) {
	var entries []entry
	for line := range bytes.Lines(text) {
		fields := strings.Fields(string(line))
		if len(fields) == 3 && strings.HasPrefix(fields[0], "0x") {
			fields = fields[1:]
		}
		switch len(fields) {
		case 0:
		case 2:
			entries = append(entries, entry{Token{fields[0]}, Token{fields[1]}})
		default:
			return nil, fmt.Errorf("line %q: must be 'key value'", line)
		}
	}
	return entries, nil
}

type parser struct {
	byKey     map[string]string
	hosts     map[string]*model.Host
	otherwise model.Upstream
}

func (p *parser) host(name string) *model.Host {
	h := p.hosts[name]
	if h == nil {
		h = &model.Host{Name: name}
		p.hosts[name] = h
	}
	return h
}

func (p *parser) read(key, value string) error {
	switch {
	case key == byDefault.text:
		r, err := unpack(value)
		p.otherwise = r.Upstream
		return err
	case key == anyHost.text:
		return p.whole("", value)
	case strings.HasPrefix(key, wildcard.text):
		return p.whole(key[len(wildcard.text):], value)
	case strings.HasPrefix(key, exactPath.text), strings.HasPrefix(key, prefixPath.text):
		host, path, ok := strings.Cut(key[1:], "/")
		if !ok || p.byKey[hostKey(Token{host}).text] != comparing.text {
			return fmt.Errorf("its host %q doesn't compare paths", host)
		}
		r, err := unpack(value)
		if err != nil {
			return err
		}
		r.Path = "/" + path
		if key[:1] == prefixPath.text {
			r.Match = model.Prefix
			if path != "" {
				r.Path = strings.TrimSuffix(r.Path, "/")
			}
		}
		h := p.host(host)
		h.Routes = append(h.Routes, r)
		return nil
	default:
		return p.whole(key, value)
	}
}

// whole reads the line of a host itself.
func (p *parser) whole(name, value string) error {
	if value == comparing.text {
		p.host(name)
		return nil
	}
	r, err := unpack(value)
	if err != nil {
		return err
	}
	r.Path, r.Match = "/", model.Prefix
	p.host(name).Routes = []model.Route{r}
	return nil
}
