package webhook

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"drawbridge.dev/drawbridge/policy"
)

const (
	// maxWarning is the number of characters after which the API server may cut a warning off.
	maxWarning = 256
	// maxWarnings keeps their sum under the 4096 characters after which the API server cuts all and drops some.
	maxWarnings = 15
	// maxCauses bounds an answer by what a person reads.
	maxCauses = 50
)

func warnings(found []policy.Finding) []string { return lines(found, "") }

// fixWarnings tells the author what was changed in what he applied.
func fixWarnings(fixed []policy.Finding) []string { return lines(fixed, "fixed: ") }

// rightWarnings tell a user what only his right to exempt let pass: he may not know that he has it, and what judges
// stored objects does not know who wrote them.
func rightWarnings(exempt []policy.Finding) []string {
	var by []policy.Finding
	for _, f := range exempt {
		if f.By == policy.ByRight {
			by = append(by, f)
		}
	}
	return lines(by, "exempted by your right to use the rule: ")
}

// lines makes a warning of each finding: one line, because a newline makes the API server drop it without a word, and
// not longer than what it promises to pass on.
func lines(found []policy.Finding, prefix string) []string {
	var out []string
	for i, f := range found {
		if i == maxWarnings-1 && len(found) > maxWarnings {
			return append(out, fmt.Sprintf("%d more warnings are left out here; 'drawbridge check' lists all", len(found)-i))
		}
		out = append(out, shorten(prefix+f.Message(), " ("+f.Rule+")"))
	}
	return out
}

// shorten cuts a message to maxWarning characters and keeps its end, which names the rule.
func shorten(message, end string) string {
	message = strings.ToValidUTF8(message, "\uFFFD")
	if utf8.RuneCountInString(message) <= maxWarning {
		return message
	}
	keep := max(0, maxWarning-utf8.RuneCountInString(end)-1)
	runes := []rune(message)
	return string(runes[:keep]) + "…" + end
}

// audit tells the audit log which policy judged and what it found: `deny=<rule>,<rule>;fix=<rule>`.
func audit(config *policy.Config, result policy.Result) map[string]string {
	var parts []string
	for _, group := range [...]struct {
		name  string
		found []policy.Finding
	}{{"deny", result.Denied}, {"fix", result.Fixed}, {"warn", result.Warned}, {"exempt", result.Exempt}} {
		if ids := ruleIDs(group.found); ids != "" {
			parts = append(parts, group.name+"="+ids)
		}
	}
	annotations := map[string]string{"policy": config.Generation}
	if len(parts) > 0 {
		annotations["rules"] = strings.Join(parts, ";")
	}
	return annotations
}

// ruleIDs lists each rule of the findings once, in their order.
func ruleIDs(found []policy.Finding) string {
	var ids []string
	seen := map[string]bool{}
	for _, f := range found {
		if !seen[f.Rule] {
			seen[f.Rule] = true
			ids = append(ids, f.Rule)
		}
	}
	return strings.Join(ids, ",")
}
