package main

import (
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/intent"
	"drawbridge.dev/drawbridge/policy/manifest"
	"drawbridge.dev/drawbridge/policy/translate"
)

// dialectFlags name the dialect that manifests are translated into.
type dialectFlags struct {
	name, class string
	to          *intent.Dialect
}

func (f *dialectFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.name, "dialect", "", "write the annotations in the words of another Ingress controller: "+strings.Join(dialects(), ", "))
	cmd.Flags().StringVar(&f.class, "class", "", "the ingressClassName that goes with --dialect (default: the controller's usual one)")
	_ = cmd.RegisterFlagCompletionFunc("dialect", cobra.FixedCompletions(dialects(), cobra.ShellCompDirectiveNoFileComp))
}

// dialects are the names of those that can be written.
func dialects() []string {
	var names []string
	for _, d := range intent.Dialects {
		if d.Speaks() {
			names = append(names, d.Name)
		}
	}
	return names
}

// check finds the dialect, and tells what is wrong with the flags.
func (f *dialectFlags) check() error {
	switch {
	case f.name == "" && f.class != "":
		return usageErrorf("--class goes with --dialect")
	case f.name == "":
		return nil
	case !slices.Contains(dialects(), f.name):
		return usageErrorf("--dialect must be one of '%s', not '%s'", strings.Join(dialects(), "', '"), f.name)
	}
	f.to = intent.Named(f.name)
	if f.class == "" {
		f.class = f.to.Class
	}
	if errs := validation.IsDNS1123Subdomain(f.class); len(errs) > 0 {
		return usageErrorf("--class must be the name of an IngressClass, not '%s'", f.class)
	}
	return nil
}

// policy is the policy under which the translated objects are judged: their class speaks the dialect, whatever else it
// is the name of.
func (f *dialectFlags) policy(config *policy.Config) *policy.Config {
	if f.to == nil {
		return config
	}
	with := config.WithProfile(config.Profile)
	with.Rules = maps.Clone(config.Rules)
	if with.Rules == nil {
		with.Rules = map[string]policy.Level{}
	}
	// What is left of another dialect is told of with the reason.
	with.Rules["ingress-annotation-foreign"] = policy.Off
	with.Classes = append([]policy.Class{{Class: f.class, Dialect: f.to.Name}}, config.Classes...)
	return with
}

// edit writes objects back into their file. Only a translation may take something away.
func (f *dialectFlags) edit(file *manifest.File, want map[*manifest.Object]policy.Object) ([]byte, []*manifest.Error) {
	if f.to == nil {
		return file.Mend(want)
	}
	return file.Rewrite(want)
}

// lost is what could not be carried over, and the object that said it.
type lost struct {
	object  *manifest.Object
	finding policy.Finding
}

// translate gives the objects that change by the translation, none where none was asked for, and what is lost.
func (f *dialectFlags) translate(files []*manifest.File, config *policy.Config) (map[*manifest.Object]policy.Object, []lost) {
	want := map[*manifest.Object]policy.Object{}
	if f.to == nil {
		return want, nil
	}
	var objects []policy.Object
	by := map[policy.Object]*manifest.Object{}
	for _, file := range files {
		for _, o := range file.Objects {
			objects = append(objects, o.Object)
			by[o.Object] = o
		}
	}
	out := translate.Objects(objects, config, f.to, f.class)
	for given, next := range out.Changed {
		// Of what kubectl printed the version is that of a moment: the manager completes the Services as soon as the first
		// Ingress has moved, and kubectl apply would refuse the rest.
		next.SetResourceVersion("")
		want[by[given]] = next
	}
	var list []lost
	for _, l := range out.Lost {
		err := field.Required(nil, l.Detail)
		if l.Annotation != "" {
			err = &field.Error{Type: field.ErrorTypeNotSupported, BadValue: l.Object.GetAnnotations()[l.Annotation], Detail: "not carried over: " + l.Detail}
		}
		err.Field = l.Field
		level := policy.Warn
		if l.Access {
			level = policy.Deny
		}
		list = append(list, lost{by[l.Object], policy.Finding{Rule: "fix --dialect", Level: level, Err: err}})
	}
	return want, list
}
