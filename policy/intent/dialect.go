package intent

// Place is the object on which an annotation stands.
type Place uint8

// The places.
const (
	OnIngress Place = iota
	OnService
)

func (p Place) String() string {
	if p == OnService {
		return "Service"
	}
	return "Ingress"
}

// Per says for which backends of the Ingress an annotation holds.
type Per uint8

// An annotation holds for every backend of the object that it stands on, or its text is a list: of the Services that it
// holds for, by commas (nginx.org/ssl-services); of the ports of its Service, by number or name
// (projectcontour.io/upstream-protocol.tls); or of entries "serviceName=NAME rewrite=PATH", by semicolons
// (nginx.org/rewrites).
const (
	PerObject Per = iota
	PerServices
	PerPorts
	PerRewrites
)

// Key is one annotation of a dialect.
type Key struct {
	Annotation string
	On         Place
	Per        Per
	Wish       Wish
	// Values maps what may be written, in lower case, to the value of the wish; an empty value is understood and says
	// nothing. Nil means that the text itself is the value, with Before in front.
	Values map[string]string
	Before string
	// Value is what being listed means, where Per is a list of Services or ports.
	Value string
	// With are what must hold beside the key, all of them; without them it says nothing.
	With []Condition
	// Parse makes the value of the text where it is a language of its own; nil where Values or Before say it.
	Parse func(text string) (value string, ok bool)
	// Allowed lists what may be written where Parse decides.
	Allowed []string
}

// Condition is an annotation that must stand beside another one, on the Ingress or on the Service.
type Condition struct {
	Annotation string
	// Text is what it must say, in any case of letters; empty means anything but "", "false" and "off", or, of a list,
	// that the backend is listed.
	Text string
}

// Annotation is one annotation to write.
type Annotation struct {
	On   Place
	Key  string
	Text string
}

// Spelling is how a dialect writes a wish.
type Spelling struct {
	Wish Wish
	// Value is the value of the wish. "node" also stands for the name that it comes to, "rewrite" for every
	// "rewrite:NAME", and "*" for any value.
	Value string
	// Write are all the annotations that it takes. In their texts "$name" stands for the Host that is sent, "$value"
	// for the value of the wish, "$service" and "$port" for the backend's. Nil Write: it takes none, it is so anyway.
	Write []Annotation
}

// Rewrite says what a dialect's rewrite-target replaces.
type Rewrite uint8

// RewritePrefix replaces the matched prefix and keeps the rest; RewritePath replaces the whole path.
const (
	RewritePrefix Rewrite = iota
	RewritePath
)

// Pair tells of annotations that do nothing, or not what their author believes, without another.
type Pair struct {
	// Annotations are the ones that need something; one that only says "false" or "off" needs nothing.
	Annotations []string
	// Needs lists what makes them whole: one of these must hold. It is never empty.
	Needs []Condition
	// Ports tells that a port where everybody speaks TLS (Backend.Secure) makes them whole too.
	Ports bool
	// Why says what goes wrong: "is ignored without ...".
	Why string
	// Write says what to write: "add `key`: 'value'".
	Write string
}

// Reference is an annotation that names another object, as NAME or NAMESPACE/NAME.
type Reference struct {
	Annotation string
	On         Place
	Kind       string // Secret, ConfigMap, Service, or the kind of a controller's own resource
	// Separator stands between namespace and name; empty means "/".
	Separator string
	// List tells that the text is a list, by commas.
	List bool
	// Qualified tells that the namespace must be there.
	Qualified bool
	// Namespace tells that the text is the name of a namespace, whose objects of the kind are meant.
	Namespace bool
	// Resource tells that the text is NAMESPACE-NAME@PROVIDER, in which the two can not be told apart.
	Resource bool
}

// Fetch is an annotation that says where the proxy itself sends requests, whoever asks it for what.
type Fetch struct {
	Annotation string
	On         Place
	// Port is the annotation beside it that holds the port; empty where the port is part of the text, or follows from its
	// scheme.
	Port string
	// Find takes what is sent to, URLs or hosts, out of a text that is a language of its own, in linear time; nil where
	// the text is a URL or a host.
	Find func(text string) []string
}

// AliasState says what a controller does with an ExternalName Service behind an Ingress.
type AliasState uint8

// It is not known; served as it comes; refused until an administrator switches it on; never served.
const (
	AliasUnknown AliasState = iota
	AliasServed
	AliasOff
	AliasNever
)

// Aliases is how a controller treats an ExternalName Service behind an Ingress.
type Aliases struct {
	State AliasState
	// Flag switches it on where State is AliasOff, and off where it is AliasServed; empty where there is none.
	Flag string
	// Instead is what serves an external site under the controller: "write a Service without selector and an
	// EndpointSlice".
	Instead string
	Source  string
}

// Limit is a wish that a dialect has no annotation for.
type Limit struct {
	Wish    Wish
	Why     string // what the controller does: "keeps the client's Host"
	Instead string // what would work: "write an HTTPProxy with requestHeadersPolicy"
}

// Dialect is how one Ingress controller spells its wishes. It is data only: a controller is added by adding a value
// to Dialects. One without Keys is known for its way with ExternalName only.
type Dialect struct {
	Name string
	// Title is the controller's name in a sentence.
	Title string
	// Controllers are the values of IngressClass.spec.controller that it goes by; one that ends in "/" stands for all
	// that begin with it.
	Controllers []string
	// Classes are the class names that mean it where there is no IngressClass of that name.
	Classes []string
	// Class is the usual name of its IngressClass, which may be that of other controllers too.
	Class string
	// Prefixes begin the annotations that are the controller's.
	Prefixes []string
	// Keys are read in this order; the first that is set and understood decides a wish.
	Keys []Key
	// Spellings say how to write; of two that fit the first counts.
	Spellings  []Spelling
	Pairs      []Pair
	References []Reference
	// Fetches are the annotations by which the proxy itself sends requests. What a browser is sent to is none of them.
	Fetches []Fetch
	// Texts are the annotations whose text reaches a proxy's configuration, and what they may say.
	Texts map[string]Grammar
	// Snippets are annotations of raw configuration, which may say any wish in words that nobody reads.
	Snippets []string
	// Restricts are the annotations that say who or what is served, or may say so: whoever serves the Ingress without
	// them opens it to others. One that ends in "." stands for all that begin with it.
	Restricts []string
	// Shares are the annotations by which a route takes some of the requests for its host and path, and another route the
	// rest: without them it would take all. A "." at the end as above.
	Shares []string
	// RestrictsOnService tells that the controller reads Restricts and Shares on the Service of a backend too.
	RestrictsOnService bool
	// Unserved are the annotations that change what is served, and that drawbridge's proxy does not do.
	Unserved []string
	Aliases  Aliases
	Cannot   []Limit
	Rewrite  Rewrite
	// PrefixRewrite is how a dialect whose Rewrite is RewritePath replaces a prefix and keeps the rest: "$prefix" and
	// "$to" stand for the two, without a slash at the end. Nil where it can not.
	PrefixRewrite []Annotation
	// TargetPort tells that the port of an ExternalName is the matching Service port's targetPort, where the Service
	// declares one; else it is the number that the Ingress gives.
	TargetPort bool
	// PortNames tells that the controller resolves a port name of an ExternalName that the Service declares.
	PortNames bool
	// NeedsPort tells that an ExternalName is not served by a port that the Service does not declare.
	NeedsPort bool
	// Passthrough are the annotations that, unless "false", hand TLS through to the backend unread.
	Passthrough []string
	// Unverified tells that the controller does not verify upstreams unless asked to.
	Unverified bool
	// NodeHost tells that an ExternalName gets its own name as Host unless the client's is asked for.
	NodeHost bool
	// SecurePort tells that the controller itself speaks TLS to port 443 and to a port whose name begins with https.
	SecurePort bool
	// Source is where the row was read.
	Source string
}

// Limit is why the dialect can not say a wish, nil where it can, or where nothing is known of it.
func (d *Dialect) Limit(wish Wish) *Limit {
	for i := range d.Cannot {
		if d.Cannot[i].Wish == wish {
			return &d.Cannot[i]
		}
	}
	return nil
}

// Speaks tells whether the dialect has annotations at all: where not, only its way with ExternalName is known.
func (d *Dialect) Speaks() bool { return len(d.Keys) > 0 || len(d.Cannot) > 0 }
