package intent

import (
	"regexp"
	"strings"
)

// Grammar is what the text of an annotation may be where it reaches a proxy's configuration. It describes what the key
// means, so that everything that works passes; it is not a list of forbidden characters.
type Grammar struct {
	// Name is the kind of text: "a path", "a URL".
	Name string
	// Valid judges a text in time linear in its length.
	Valid func(text string) bool
	// Says is what the text must be, for a message: "must be ...".
	Says string
}

// maxWord is the longest word of a configuration that nginx reads (NGX_CONF_BUFFER), and twice the longest line of
// HAProxy: what is longer works nowhere, and need not be judged by letters.
const maxWord = 4096

// matching makes a grammar of a regular expression that the whole text must match; Go's run in linear time.
func matching(name, says, expr string) Grammar {
	re := regexp.MustCompile(`\A(?:` + expr + `)\z`)
	return Grammar{Name: name, Says: says, Valid: func(text string) bool { return len(text) <= maxWord && re.MatchString(text) }}
}

// Parts of the grammars. A variable of nginx is $name or ${name}; a capture is $1. Characters of a URI are those of
// RFC 3986 but for the semicolon and the quote, which end a word in nginx's configuration, and no controller escapes.
const (
	variable = `\$(?:[A-Za-z0-9_]+|\{[A-Za-z0-9_]+\})`
	uriChar  = `[A-Za-z0-9\-._~!&()*+,=:@/?#%^|\[\]]`
	uriText  = `(?:` + uriChar + `|` + variable + `|\$)*`
	hostText = `(?:[A-Za-z0-9\-._*]|` + variable + `)+(?::(?:[0-9]{1,5}|` + variable + `))?|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?`
	// regexChar is a character of a regular expression that is one word; braces only as a quantifier.
	regexChar = `[A-Za-z0-9\-._~!&()*+,=:@/?%^$|\[\]\\<>]|\{[0-9]+(?:,[0-9]*)?\}`
	// sample is a HAProxy sample expression: fetches and converters with arguments, but none that reads the proxy's
	// environment or files.
	sample = `%\[[A-Za-z0-9_.]+(?:\([^()\[\]"'\\\s]*\))?(?:,[A-Za-z0-9_.]+(?:\([^()\[\]"'\\\s]*\))?)*\]`
)

// The grammars of a host and of a path, which stand in the spec of every Ingress.
var (
	// HostName is spec.rules[].host: a DNS name, a wildcard, or empty.
	HostName = matching("a host", "a DNS name in lower case, or '*.' and one",
		`|(?:\*\.)?[a-z0-9](?:[a-z0-9\-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9\-]*[a-z0-9])?)*`)
	// Path is spec.rules[].http.paths[].path: a path, or, for controllers that take one, a regular expression such as
	// /foo(/|$)(.*).
	Path = matching("a path", "a path, or a regular expression of a path, without spaces, quotes, ';' and '#'; braces only as in '{2,3}'",
		`(?:`+regexChar+`|\p{L}|\p{N})*`)
)

var (
	hostWithVariables = matching("a host", "a host name, with variables such as '$host' and a port where need be", hostText)
	plainHost         = matching("a host", "a host name, and a port where need be", `[A-Za-z0-9\-._]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?`)
	pathTarget        = matching("a path", "a path or a URL, with captures such as '$1' where need be, without spaces, quotes, ';' and braces", uriText)
	urlWithVariables  = matching("a URL", "a URL or a path, with variables such as '$request_uri' where need be, without spaces, quotes, ';' and braces", uriText)
	plainPath         = matching("a path", "a path without spaces, quotes, ';' and braces", `(?:`+uriChar+`|\$)*`)
	serverNames       = listOf(matching("server names", "host names, wildcards or regular expressions that begin with '~', separated by commas",
		`[A-Za-z0-9\-._*]+|~(?:[A-Za-z0-9\-._~!&()*+=:@/?^$|\[\]\\<>])+`))
	redirectFrom = matching("a redirect", "'off', 'default', a URL, or a regular expression that begins with '~', without spaces, quotes and ';'",
		uriText+`|~\*?(?:[A-Za-z0-9\-._~!&()*+,=:@/?%^$|\[\]\\<>])+`)
	commonName = matching("a common name", "'CN=' and a name or a regular expression, without quotes, ';', '#' and braces",
		`CN=[A-Za-z0-9\-._~!&()*+,=:@/?^$|\[\]\\ ]*`)
	variables = matching("variables", "letters, digits and variables such as '$remote_addr'", `(?:[A-Za-z0-9\-._:/,|]|`+variable+`)*`)
	method    = matching("a method", "an HTTP method", `[A-Za-z]{1,20}`)
	word      = matching("a word", "letters, digits, '-', '_' and '.'", `[A-Za-z0-9\-_.]*`)
	quotable  = matching("a text", "a text on one line without quotes and backslashes", `[^"'\\\p{Cc}]*`)
	headers   = listOf(matching("header names", "names of headers, separated by commas", `[A-Za-z0-9\-_]*`))
)

// HAProxy's: a text is a line of its configuration.
var (
	oneLine     = matching("a text", "a text on one line", `[^\p{Cc}]*`)
	samplePath  = `(?:` + `[A-Za-z0-9\-._~!&()*+,=:@/?^$|\[\]\\<>;{}]|%[0-9A-Fa-f]{2}|` + sample + `)`
	pathRewrite = lines(matching("path rewrites", "one path, or a regular expression and a path, on each line, without quotes and '#'",
		`[ \t]*(?:`+samplePath+`+(?:[ \t]+`+samplePath+`+)?)?[ \t]*`), safeSamples)
	haproxyHost = also(matching("a host", "a host name, and a port where need be; or a sample expression such as '%[req.hdr(X-Host)]'",
		`(?:[A-Za-z0-9\-._:\[\]]|`+sample+`)+`), safeSamples)
	headerLines = lines(matching("headers", "on each line the name of a header, a space and its value; quotes in pairs",
		`[ \t]*(?:[A-Za-z0-9\-_.]+:?(?:[ \t]+(?:"(?:[^"\\\p{Cc}]|\\[^\p{Cc}])*"|\\[^\p{Cc}]|[^"'\\#\p{Cc}])*)?)?[ \t]*`), safeSamples)
	haproxyURL = also(matching("a URL", "a URL or a path without spaces, quotes and '#'",
		`(?:[A-Za-z0-9\-._~!&()*+,=:@/?^$|\[\]<>;{}]|%[0-9A-Fa-f]{2}|`+sample+`)*(?:#[A-Za-z0-9\-._~!&()*+,=:@/?]*)?`), safeSamples)
	sampleLines = lines(matching("sample expressions", "a sample expression such as 'hdr(Host)' on each line",
		`[ \t]*(?:[A-Za-z0-9_.]+(?:\([^()"'\\#\s]*\))?(?:,[A-Za-z0-9_.]+(?:\([^()"'\\#\s]*\))?)*)?[ \t]*`), safeSamples)
	condition = also(matching("a condition", "a condition of HAProxy on one line, without braces and '#'", `[^{}#\\\p{Cc}]*`), safeSamples)
	checkLine = matching("a check", "a path, or a method and a path", `(?:[A-Z]+[ \t]+)?`+`(?:[A-Za-z0-9\-._~!&()*+,=:@/?%])*(?:[ \t]+HTTP/[0-9.]+)?`)
)

// listOf holds a grammar for every entry of a list by commas, with spaces around them.
func listOf(g Grammar) Grammar {
	one := g.Valid
	g.Valid = func(text string) bool {
		for entry := range strings.SplitSeq(text, ",") {
			if entry = strings.Trim(entry, " "); entry != "" && !one(entry) {
				return false
			}
		}
		return true
	}
	return g
}

// lines holds a grammar for every line, and a condition with it.
func lines(g Grammar, and func(string) bool) Grammar {
	one := g.Valid
	g.Valid = func(text string) bool {
		for line := range strings.SplitSeq(text, "\n") {
			if !one(line) || !and(line) {
				return false
			}
		}
		return true
	}
	return g
}

func also(g Grammar, and func(string) bool) Grammar {
	one := g.Valid
	g.Valid = func(text string) bool { return one(text) && and(text) }
	return g
}

// secretive are the fetches of HAProxy that read what is the proxy's own and no part of a request.
var secretive = regexp.MustCompile(`(?i)\b(?:env|lua\.[a-z0-9_.]*|quic_enabled|stopping|hostname|pid|nbproc|nbthread)\b[ \t]*\(|%\[[ \t]*(?:env|hostname|pid)\b`)

func safeSamples(text string) bool { return !secretive.MatchString(text) }

// objectName is a name as Kubernetes has it.
var objectName = matching("a name", "the name of an object, or 'NAMESPACE/NAME'", `[a-z0-9]([a-z0-9\-.]*[a-z0-9])?(?:/[a-z0-9]([a-z0-9\-.]*[a-z0-9])?)?`)
