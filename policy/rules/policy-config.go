package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
)

var policyConfig = policy.Rule[*corev1.ConfigMap]{
	ID:     "policy-config",
	Doc:    policyConfigDoc,
	Levels: policy.Same(policy.Deny),
	Check:  checkPolicyConfig,
}

var policyConfigDoc = policy.Doc{
	Summary: "The ConfigMap of the policy must hold one that drawbridge can read.",
	Why: "A policy with a mistake is not put in force: the one before stays, in every replica, and whoever applied the new one " +
		"believes that it holds. So it is judged as it is applied, by the parser that reads it, and each mistake is told with " +
		"its line and column in the text of the policy: unknown keys and rules, levels, patterns, CIDRs, selectors, ports and " +
		"dialects, and what stands twice. A policy that is stored already may keep its mistakes as long as its text stays as " +
		"it is. Without its key the default is in force, which is told as a warning.",
	Bad: `apiVersion: v1
kind: ConfigMap
metadata:
  name: drawbridge-policy
  namespace: drawbridge-system
data:
  policy.yaml: |
    version: 1
    profile: srtict
`,
	Good: `apiVersion: v1
kind: ConfigMap
metadata:
  name: drawbridge-policy
  namespace: drawbridge-system
data:
  policy.yaml: |
    version: 1
    profile: strict
`,
	Since:  "0.2.0",
	Source: "the comments of the default policy, charts/drawbridge/files/policy.yaml",
}

func checkPolicyConfig(p *policy.Pass[*corev1.ConfigMap]) {
	data := field.NewPath("data")
	text, ok := p.Object.Data[policy.ConfigMapKey]
	if !ok {
		p.Warn(field.Required(data.Key(policy.ConfigMapKey), "without it the default policy is in force; write 'version: 1' under it to mean that"))
		return
	}
	_, err := policy.ParseConfig([]byte(text), p.Known)
	if err == nil {
		return
	}
	sum := sha256.Sum256([]byte(text))
	lines := strings.Split(text, "\n")
	at := data.Key(policy.ConfigMapKey)
	list := policy.Mistakes(err)
	for _, m := range list {
		value := policyLine{sum: sum}
		if 0 < m.Line && m.Line <= len(lines) {
			value.line = strings.TrimSpace(lines[m.Line-1])
		}
		p.Report(field.Invalid(at, value, m.At()), nil)
	}
	if len(list) == 0 {
		p.Report(field.Invalid(at, policyLine{sum: sum}, err.Error()), nil)
	}
}

// policyLine is what is wrong: the line, as it is printed. It is the same as another only in the same text, so that the
// ratchet forgives the old text alone: who edits a wrong policy must not be left with one that is wrong elsewhere, and
// not in force.
type policyLine struct {
	line string
	sum  [sha256.Size]byte
}

// MarshalJSON writes the line, of which a long one is cut.
func (l policyLine) MarshalJSON() ([]byte, error) {
	const most = 40
	shown := []rune(l.line)
	if len(shown) > most {
		shown = append(shown[:most:most], '…')
	}
	return json.Marshal(string(shown))
}

// String tells two texts apart.
func (l policyLine) String() string { return hex.EncodeToString(l.sum[:]) + l.line }
