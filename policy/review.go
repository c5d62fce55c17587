package policy

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// AllowPrefix begins the annotation by which an author exempts an object from a rule that is no Guard; the rule's ID
// follows, and the value is the reason. An empty reason does not count.
const AllowPrefix = "drawbridge.dev/allow-"

// Request is what Review judges.
type Request struct {
	// Object is not changed.
	Object Object
	// Old is the object before an update, nil otherwise.
	Old Object
	// World is nil where nothing else is known.
	World World
	// Config is the policy in force; nil means the default.
	Config *Config
	// Stored tells that the object is already in a cluster and who wrote it is not known.
	Stored bool
	// NoFix turns a finding that could be fixed into a warning.
	NoFix bool
	// User and Groups are who writes, empty where it is not known.
	User   string
	Groups []string
	// Status tells that the status subresource is written: only the rules about it run then.
	Status bool
	// MayExempt tells whether the user may exempt an object from a Guard, by the right to `use` it. It is asked once for
	// each Guard that would deny; nil means that he may not.
	MayExempt func(rule string) bool

	known func(id string) bool // Pass.Known
}

// Finding is one thing that a rule found, after policy.
type Finding struct {
	Rule string
	// Level is what came of it: Deny, Warn, or Fix where the fix was applied.
	Level Level
	// Err holds field, kind, bad value and detail.
	Err *field.Error
	// Exempt tells that the object is exempted: it is reported and has no effect.
	Exempt bool
	// By tells who exempted it, and Reason why.
	By     ExemptBy
	Reason string
	// Ratcheted tells that the object already had it before this update: it is warned of, no more.
	Ratcheted bool
}

// ExemptBy says by what right a finding is exempt.
type ExemptBy string

// An author exempts by an annotation, the policy by its list of exemptions, a user by his right to use the rule.
const (
	ByAuthor ExemptBy = "author"
	ByPolicy ExemptBy = "policy"
	ByRight  ExemptBy = "right"
)

// Lengths in characters. An API server drops warnings that are long in sum, so that one finding stays within 256.
const (
	maxValue = 63
	maxField = 100
	maxCause = 256
)

// Cause is the finding without its field, which kubectl puts before it: one line of at most 256 characters that ends
// with the rule's ID. A long bad value is cut.
func (f Finding) Cause() string {
	e := *f.Err
	if s, ok := e.BadValue.(string); ok {
		e.BadValue = cut(s, maxValue)
	}
	id := " (" + f.Rule + ")"
	return cut(oneLine(e.ErrorBody()), maxCause-len(id)) + id
}

// Message is the finding in one line: field, what is wrong, what to write instead, rule.
func (f Finding) Message() string { return cut(oneLine(f.Err.Field), maxField) + ": " + f.Cause() }

// oneLine keeps a hostile name or value from ending the line that it is printed on, from steering the terminal, and
// from turning the text around.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) {
			return ' '
		}
		return r
	}, s)
}

// cut leaves at most n characters of s, the last of them an ellipsis where there were more.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for i := range s {
		if n--; n == 0 {
			if utf8.RuneCountInString(s[i:]) > 1 {
				return s[:i] + "…"
			}
			break
		}
	}
	return s
}

// Result is what Review came to.
type Result struct {
	// Object is the mended object; the one given, where nothing was mended.
	Object Object
	Denied []Finding
	Warned []Finding // exempt findings are not among them
	Fixed  []Finding
	Exempt []Finding
	// Unheeded are warnings of annotations by which the author meant to exempt the object from what it is denied for, and
	// which do not: the rule is a Guard, or there is no reason.
	Unheeded []Finding
	// Awaited is what might be mended once an object is known that is not yet. It is no finding.
	Awaited []Awaited
	// Policy is the policy in force in the object's namespace.
	Policy *Config
}

// Awaited is a rule that could not judge an object it may mend, because another one is not known.
type Awaited struct {
	Rule string
	// Missing is kind and name of the other object: Service/api.
	Missing string
	// Ratcheted tells that the old object waited for the same one already.
	Ratcheted bool
}

// Review runs the rules of the object's kind, one after the other; each sees the object as the ones before mended it.
// Every finding is judged by the level of its rule, the author's exemption, the ratchet and its fix, in this order.
//
// The ratchet: on an update, a finding that the old object already had is neither denied nor fixed, so that an old
// object can still be edited, and a new label never changes its traffic. Findings are the same if rule, field path
// without indices and bad value are; the old object is judged in today's World.
//
// An object of another kind passes.
func (b Book) Review(req Request) Result {
	if req.World == nil {
		req.World = Nothing{}
	}
	if req.Config == nil {
		req.Config = DefaultConfig()
	}
	switch o := req.Object.(type) {
	case *corev1.Service:
		return review(b.Services, o, req)
	case *corev1.Endpoints:
		return review(b.Endpoints, o, req)
	case *discoveryv1.EndpointSlice:
		return review(b.EndpointSlices, o, req)
	case *networkingv1.Ingress:
		return review(b.Ingresses, o, req)
	case *corev1.ConfigMap:
		req.known = b.Known
		return review(b.ConfigMaps, o, req)
	}
	return Result{Object: req.Object}
}

func review[T Object](rules []Rule[T], object T, req Request) Result {
	req.Config = req.Config.For(object.GetNamespace(), req.World.Namespace)
	res := Result{Object: object, Policy: req.Config}
	var old T
	hasOld := false
	var none T
	if o, ok := req.Old.(T); ok && any(o) != any(none) {
		old, hasOld = o, true
	}
	cur, copied := object, false
	pass := func(r *Rule[T], obj, before T) Pass[T] {
		p := Pass[T]{Object: obj, Old: before, World: req.World, Config: req.Config, Stored: req.Stored, User: req.User, Known: req.known}
		r.Check(&p)
		return p
	}
	run := func(r *Rule[T], obj, before T) []report[T] { return pass(r, obj, before).reports }
	for i := range rules {
		r := &rules[i]
		if r.Status != req.Status {
			continue
		}
		level := req.Config.Level(r.ID, r.Levels)
		mild := level
		if r.Milder != (Levels{}) {
			mild = req.Config.Level(r.ID, r.Milder)
		}
		if level == Off && mild == Off {
			continue
		}
		judged := pass(r, cur, old)
		reports := judged.reports
		if len(reports)+len(judged.awaits) == 0 {
			continue
		}
		by, reason := exempts(r, cur, req)
		exempt := by != ""
		mends := !req.NoFix && req.Config.Injects(r.Injects) && Mendable(cur)
		if len(judged.awaits) > 0 && level == Fix && !exempt && mends {
			var had []string
			if hasOld {
				had = pass(r, old, none).awaits
			}
			for _, missing := range judged.awaits {
				res.Awaited = append(res.Awaited, Awaited{Rule: r.ID, Missing: missing, Ratcheted: slices.Contains(had, missing)})
			}
		}
		if len(reports) == 0 {
			continue
		}
		var had map[string]int
		if hasOld && !exempt {
			had = map[string]int{}
			for _, rep := range run(r, old, none) {
				had[identity(rep.err)]++
			}
		}
		var left []report[T] // what the ratchet or a failed fix leaves to say
		fixed, denied := 0, len(res.Denied)
		asked, may := false, false
		for _, rep := range reports {
			f := Finding{Rule: r.ID, Level: level, Err: rep.err}
			if rep.grade == milder {
				f.Level = mild
			}
			if f.Level == Off {
				continue
			}
			id := identity(rep.err)
			switch {
			case exempt:
				f.Exempt, f.By, f.Reason = true, by, reason
				f.Level = Warn
				res.Exempt = append(res.Exempt, f)
				continue
			case had[id] > 0:
				had[id]--
				f.Ratcheted = true
				f.Level = Warn
			case rep.grade == atMostWarn:
				f.Level = Warn
			case f.Level == Fix && rep.fix == nil:
				f.Level = r.unfixed()
			case f.Level == Fix && !mends:
				f.Level = Warn
			case f.Level == Fix:
				if !copied {
					cur, copied = cur.DeepCopyObject().(T), true
				}
				rep.fix(cur)
				fixed++
			}
			if f.Level == Deny && r.Guard && req.MayExempt != nil {
				if !asked {
					may, asked = req.MayExempt(r.ID), true
				}
				if may {
					f.Exempt, f.By, f.Level = true, ByRight, Warn
					res.Exempt = append(res.Exempt, f)
					left = append(left, rep)
					continue
				}
			}
			switch f.Level {
			case Deny:
				res.Denied = append(res.Denied, f)
			case Fix:
				res.Fixed = append(res.Fixed, f)
			case Warn:
				res.Warned = append(res.Warned, f)
			}
			if f.Level != Fix {
				left = append(left, rep)
			}
		}
		if len(res.Denied) > denied {
			res.Unheeded = append(res.Unheeded, unheeded(r, cur)...)
		}
		if fixed == 0 {
			continue
		}
		// A fix must leave nothing for its rule to find; what it leaves all the same is not passed over.
		was := map[string]int{}
		for _, rep := range left {
			was[identity(rep.err)]++
		}
		for _, rep := range run(r, cur, old) {
			if id := identity(rep.err); was[id] > 0 {
				was[id]--
				continue
			}
			f := Finding{Rule: r.ID, Level: r.unfixed(), Err: rep.err}
			switch {
			case rep.grade == milder && mild == Off, rep.grade != milder && level == Off:
				continue
			case rep.grade == atMostWarn, rep.grade == milder && mild == Warn:
				f.Level = Warn
			}
			if f.Level == Deny {
				res.Denied = append(res.Denied, f)
			} else {
				res.Warned = append(res.Warned, f)
			}
		}
	}
	res.Object = cur
	return res
}

// exempts tells by what right an object is exempt from a rule, empty where it is not.
func exempts[T Object](r *Rule[T], o T, req Request) (by ExemptBy, reason string) {
	if reason, ok := req.Config.Exempts(r.ID, o.GetNamespace(), req.User, req.Groups); ok {
		return ByPolicy, reason
	}
	if annotations := o.GetAnnotations(); !r.Guard && len(annotations) > 0 {
		if reason := strings.TrimSpace(annotations[AllowPrefix+r.ID]); reason != "" {
			return ByAuthor, reason
		}
	}
	return "", ""
}

// unheeded is the annotation that was to exempt an object from a rule that it is denied by, where there is one.
func unheeded[T Object](r *Rule[T], o T) []Finding {
	key := AllowPrefix + r.ID
	text, set := o.GetAnnotations()[key]
	if !set {
		return nil
	}
	detail := "must have a reason; without one it exempts from nothing"
	if r.Guard {
		detail = "must be an exemption in the policy (`exemptions`): an author can not exempt himself from a guard"
	}
	return []Finding{{Rule: r.ID, Level: Warn, Err: field.Invalid(field.NewPath("metadata", "annotations").Key(key), text, detail)}}
}

// identity is what makes two findings of one rule the same across an update.
func identity(e *field.Error) string {
	path := make([]byte, 0, len(e.Field))
	for i := 0; i < len(e.Field); i++ {
		c := e.Field[i]
		if c == '[' {
			// An index is dropped; a map key, such as an annotation's name, stays.
			end := strings.IndexByte(e.Field[i:], ']')
			if end > 1 && strings.Trim(e.Field[i+1:i+end], "0123456789") == "" {
				i += end
				path = append(path, "[]"...)
				continue
			}
		}
		path = append(path, c)
	}
	return fmt.Sprintf("%s\x00%s\x00%v", path, e.Type, e.BadValue)
}

// Mendable tells whether drawbridge may change an object: not what another object owns, nor endpoints that another
// manager keeps, because the two would undo each other's work for ever. An owner need not be the controller: vCluster
// owns the Ingresses and Endpoints that it copies by a plain reference, and copies every label back. Nobody writes the
// UID of an owner by hand but into a slice, which then goes with its Service.
func Mendable(o Object) bool {
	if metav1.GetControllerOfNoCopy(o) != nil {
		return false
	}
	if _, slice := o.(*discoveryv1.EndpointSlice); !slice && len(o.GetOwnerReferences()) > 0 {
		return false
	}
	labels := o.GetLabels()
	for _, key := range [...]string{discoveryv1.LabelManagedBy, "endpoints.kubernetes.io/managed-by"} {
		switch labels[key] {
		case "", ManagedBy, HandWritten:
		default:
			return false
		}
	}
	return true
}

// Values of the label endpointslice.kubernetes.io/managed-by.
const (
	// ManagedBy marks the slices that drawbridge generates.
	ManagedBy = "drawbridge.dev"
	// HandWritten is what a slice that a person wrote gets where he named no manager.
	HandWritten = "hand-written.drawbridge.dev"
	// ManagedByPods and ManagedByMirroring mark the slices that kube-controller-manager makes of the pods of a selector,
	// and of Endpoints. The rule endpointslice-managed-by-reserved keeps everybody else from writing them.
	ManagedByPods      = "endpointslice-controller.k8s.io"
	ManagedByMirroring = "endpointslicemirroring-controller.k8s.io"
)
