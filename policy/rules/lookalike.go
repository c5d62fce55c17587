package rules

import (
	"strings"
	"unicode"

	"golang.org/x/net/idna"
)

// hostScript is what the labels of a host name in punycode are made of.
type hostScript struct {
	// Broken tells that a label is no punycode, or not as it is written in DNS.
	Broken bool
	// Mixed tells that a label mixes alphabets that look alike.
	Mixed bool
	// Shown is the name as a browser may show it.
	Shown string
	// Like is the ASCII name that it can be taken for; empty where there is none.
	Like string
}

// scriptOf reads a host name whose labels may be in punycode (RFC 3492); most have none and cost nothing. What is
// mixed and what looks like what follows the rules by which browsers show a name in its own letters (Unicode Technical
// Standard 39, section 5, "highly restrictive").
func scriptOf(host string) (s hostScript) {
	if !strings.Contains(host, "xn--") {
		return s
	}
	shown := strings.Split(host, ".")
	like := strings.Split(host, ".")
	alike := false
	for i, label := range shown {
		if !strings.HasPrefix(label, "xn--") {
			continue
		}
		text, err := idna.Lookup.ToUnicode(label)
		if err != nil {
			s.Broken = true
			return s
		}
		if again, err := idna.Lookup.ToASCII(text); err != nil || again != label {
			s.Broken = true
			return s
		}
		shown[i] = text
		if mixesScripts(text) {
			s.Mixed = true
		}
		if ascii := likeASCII(text); ascii != "" {
			like[i], alike = ascii, true
		}
	}
	s.Shown = strings.Join(shown, ".")
	if alike {
		s.Like = strings.Join(like, ".")
	}
	return s
}

// mixesScripts tells whether a label has Latin letters beside those of an alphabet that looks like it, or two such.
func mixesScripts(label string) bool {
	alphabets := [...]*unicode.RangeTable{unicode.Latin, unicode.Cyrillic, unicode.Greek, unicode.Armenian, unicode.Cherokee, unicode.Coptic, unicode.Lisu}
	found := -1
	for _, r := range label {
		for i, table := range alphabets {
			if unicode.Is(table, r) {
				if found >= 0 && found != i {
					return true
				}
				found = i
			}
		}
	}
	return false
}

// homoglyphs are letters that most fonts draw as an ASCII letter or close to it.
var homoglyphs = map[rune]rune{
	'а': 'a', 'ӓ': 'a', 'с': 'c', 'ԁ': 'd', 'е': 'e', 'ё': 'e', 'һ': 'h', 'і': 'i', 'ї': 'i', 'ј': 'j', 'ӏ': 'l', 'к': 'k', 'м': 'm',
	'п': 'n', 'о': 'o', 'ӧ': 'o', 'р': 'p', 'ԛ': 'q', 'г': 'r', 'ѕ': 's', 'т': 't', 'ѵ': 'v', 'ԝ': 'w', 'х': 'x', 'у': 'y', 'в': 'b', 'ь': 'b', 'н': 'h',
	'α': 'a', 'ε': 'e', 'η': 'n', 'ι': 'i', 'κ': 'k', 'ν': 'v', 'ο': 'o', 'ρ': 'p', 'τ': 't', 'υ': 'u', 'ω': 'w', 'χ': 'x', 'γ': 'y',
	'ı': 'i', 'ɑ': 'a', 'ɡ': 'g', 'ɩ': 'i', 'ʋ': 'v',
}

// likeASCII is the ASCII label that a label can be taken for; empty where a letter looks like none.
func likeASCII(label string) string {
	out := make([]rune, 0, len(label))
	for _, r := range label {
		if r >= 0x80 {
			ascii, alike := homoglyphs[r]
			if !alike {
				return ""
			}
			r = ascii
		}
		out = append(out, r)
	}
	return string(out)
}
