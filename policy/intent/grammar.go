package intent

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
