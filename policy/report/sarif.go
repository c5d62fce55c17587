package report

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/manifest"
)

// sourceRoot is the name that code scanning tools give to the root of what was scanned. Its place is not told: it is
// another one wherever the file is read.
const sourceRoot = "%SRCROOT%"

// home is where drawbridge and its rules are documented.
const home = "https://pkg.go.dev/drawbridge.dev/drawbridge"

// fingerprint is the name and version of what tells a finding from another as the text around it moves. GitHub reads
// only primaryLocationLineHash, which its upload action adds: one of another making would have it warn.
const fingerprint = "drawbridgeFinding/v1"

type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool        sarifTool                `json:"tool"`
		Invocations []sarifInvocation        `json:"invocations"`
		Bases       map[string]sarifArtifact `json:"originalUriBaseIds,omitempty"`
		Results     []sarifResult            `json:"results"`
		ColumnKind  string                   `json:"columnKind"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name            string      `json:"name"`
		Version         string      `json:"version,omitempty"`
		SemanticVersion string      `json:"semanticVersion,omitempty"`
		InformationURI  string      `json:"informationUri"`
		Rules           []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID               string             `json:"id"`
		ShortDescription sarifMessage       `json:"shortDescription"`
		FullDescription  sarifMessage       `json:"fullDescription"`
		Help             sarifMessage       `json:"help"`
		HelpURI          string             `json:"helpUri"`
		Default          sarifConfiguration `json:"defaultConfiguration"`
		Properties       sarifRuleBag       `json:"properties"`
	}
	sarifConfiguration struct {
		Enabled bool   `json:"enabled"`
		Level   string `json:"level"`
	}
	sarifRuleBag struct {
		Tags      []string `json:"tags"`
		Precision string   `json:"precision"`
	}
	sarifMessage struct {
		Text     string `json:"text"`
		Markdown string `json:"markdown,omitempty"`
	}
	sarifInvocation struct {
		ExecutionSuccessful bool                `json:"executionSuccessful"`
		Notifications       []sarifNotification `json:"toolExecutionNotifications,omitempty"`
	}
	sarifNotification struct {
		Level     string          `json:"level"`
		Message   sarifMessage    `json:"message"`
		Locations []sarifLocation `json:"locations,omitempty"`
	}
	sarifResult struct {
		RuleID       string             `json:"ruleId"`
		RuleIndex    *int               `json:"ruleIndex,omitempty"`
		Level        string             `json:"level"`
		Message      sarifMessage       `json:"message"`
		Locations    []sarifLocation    `json:"locations"`
		Fingerprints map[string]string  `json:"partialFingerprints"`
		Suppressions []sarifSuppression `json:"suppressions,omitempty"`
		Properties   map[string]string  `json:"properties"`
	}
	sarifSuppression struct {
		Kind          string `json:"kind"`
		Justification string `json:"justification,omitempty"`
	}
	sarifLocation struct {
		Physical *sarifPhysical `json:"physicalLocation,omitempty"`
		Logical  []sarifLogical `json:"logicalLocations,omitempty"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   *sarifRegion  `json:"region,omitempty"`
	}
	sarifArtifact struct {
		URI         string        `json:"uri,omitempty"`
		BaseID      string        `json:"uriBaseId,omitempty"`
		Description *sarifMessage `json:"description,omitempty"`
	}
	sarifRegion struct {
		StartLine   int `json:"startLine"`
		StartColumn int `json:"startColumn,omitempty"`
		EndLine     int `json:"endLine,omitempty"`
		EndColumn   int `json:"endColumn,omitempty"`
	}
	sarifLogical struct {
		Name               string `json:"name,omitempty"`
		FullyQualifiedName string `json:"fullyQualifiedName"`
		Kind               string `json:"kind"`
	}
)

// writeSARIF writes a log of SARIF 2.1.0 with one run
// (https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html).
func writeSARIF(w io.Writer, r *Report, opts Options) error {
	run := sarifRun{
		Tool: sarifTool{Driver: sarifDriver{
			Name: "drawbridge", Version: r.Version, SemanticVersion: semantic(r.Version), InformationURI: home, Rules: []sarifRule{},
		}},
		Invocations: []sarifInvocation{{ExecutionSuccessful: len(r.Unreadable) == 0}},
		Results:     []sarifResult{},
		ColumnKind:  "unicodeCodePoints",
	}
	index := map[string]int{}
	for _, info := range r.Rules {
		rule, err := describe(info)
		if err != nil {
			return err
		}
		index[info.ID] = len(run.Tool.Driver.Rules)
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, rule)
	}
	rooted := false
	artifact := func(file string) sarifArtifact {
		a := locateArtifact(file, opts.Root)
		rooted = rooted || a.BaseID != ""
		return a
	}
	for _, u := range r.Unreadable {
		n := sarifNotification{Level: "error", Message: message(u.text())}
		if u.File != "" {
			n.Locations = []sarifLocation{{Physical: &sarifPhysical{artifact(u.File), region(u.source())}}}
		}
		run.Invocations[0].Notifications = append(run.Invocations[0].Notifications, n)
	}
	seen := map[string]int{}
	for _, f := range r.Findings {
		result := sarifResult{
			RuleID: f.Rule, Level: sarifLevel(f.Level), Message: message(f.text()),
			Properties: map[string]string{"field": f.Field, "drawbridgeLevel": f.Level.String()},
		}
		if i, ok := index[f.Rule]; ok {
			result.RuleIndex = new(i)
		}
		at := sarifLocation{Logical: []sarifLogical{{Name: f.Object.Name, FullyQualifiedName: f.Object.String(), Kind: "resource"}}}
		file := ""
		if f.Source.File != "" {
			at.Physical = &sarifPhysical{artifact(f.Source.File), region(f.Source)}
			file = at.Physical.Artifact.URI
		}
		result.Locations = []sarifLocation{at}
		sum := sha256.Sum256([]byte(file + "\x00" + f.identity))
		id := fmt.Sprintf("%x", sum[:16])
		seen[id]++
		result.Fingerprints = map[string]string{fingerprint: fmt.Sprintf("%s:%d", id, seen[id])}
		if f.Exempt {
			s := sarifSuppression{Kind: "external", Justification: f.Reason}
			if f.ExemptBy == policy.ByAuthor {
				s.Kind = "inSource"
			}
			result.Suppressions = []sarifSuppression{s}
		}
		run.Results = append(run.Results, result)
	}
	if rooted {
		run.Bases = map[string]sarifArtifact{sourceRoot: {Description: &sarifMessage{Text: "The folder that drawbridge was started in."}}}
	}
	return encodeJSON(w, sarifLog{
		Schema: "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json", Version: "2.1.0",
		Runs: []sarifRun{run},
	})
}

func describe(i policy.Info) (sarifRule, error) {
	var text, markdown bytes.Buffer
	if err := policy.WriteRules(&text, policy.FormatText, []policy.Info{i}); err != nil {
		return sarifRule{}, err
	}
	if err := policy.WriteRules(&markdown, policy.FormatMarkdown, []policy.Info{i}); err != nil {
		return sarifRule{}, err
	}
	level := i.Levels.Baseline
	rule := sarifRule{
		ID: i.ID, ShortDescription: sarifMessage{Text: i.Doc.Summary}, FullDescription: sarifMessage{Text: i.Doc.Why},
		// The YAML in it keeps its braces: there is nothing that they could stand for here, and GitHub shows it as it is.
		Help:    sarifMessage{Text: text.String(), Markdown: markdown.String()},
		HelpURI: home + "/policy#readme-" + i.ID,
		Default: sarifConfiguration{Enabled: level != policy.Off, Level: sarifLevel(level)},
		Properties: sarifRuleBag{
			Tags: append([]string{"kubernetes"}, i.Kinds...), Precision: "high",
		},
	}
	if i.Guard {
		rule.Properties.Tags = append(rule.Properties.Tags, "security")
	}
	return rule, nil
}

func sarifLevel(l policy.Level) string {
	switch l {
	case policy.Deny:
		return "error"
	case policy.Warn:
		return "warning"
	case policy.Fix:
		return "note"
	}
	return "none"
}

// message is a message that says its text and nothing else: braces would begin a placeholder (section 3.11.5), and a
// bracket before a parenthesis a link (section 3.11.6).
func message(text string) sarifMessage {
	return sarifMessage{Text: messageText.Replace(text)}
}

var messageText = strings.NewReplacer("{", "{{", "}", "}}", "](", "] (")

var semver = regexp.MustCompile(`^v?(\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?)$`)

func semantic(version string) string {
	if m := semver.FindStringSubmatch(version); m != nil {
		return m[1]
	}
	return ""
}

func region(at Source) *sarifRegion {
	if at.Line < 1 {
		return nil
	}
	return &sarifRegion{StartLine: at.Line, StartColumn: at.Column, EndLine: at.EndLine, EndColumn: at.EndColumn}
}

// locateArtifact is where a file is: relative to the root where it is below it, as code scanning wants it, and absolute
// elsewhere. Standard input is no file, and only called by its name.
func locateArtifact(file, root string) sarifArtifact {
	if file == manifest.StdinName {
		return sarifArtifact{URI: file}
	}
	name := path.Clean(filepath.ToSlash(file))
	below := func(p string) bool { return p != ".." && !strings.HasPrefix(p, "../") }
	absolute := path.IsAbs(name) || filepath.IsAbs(file)
	switch {
	case absolute && root != "":
		if rest, ok := strings.CutPrefix(name, strings.TrimSuffix(root, "/")+"/"); ok {
			name, absolute = rest, false
		}
	case !absolute && !below(name) && root != "":
		name, absolute = path.Join(root, name), true
	}
	if absolute {
		return sarifArtifact{URI: (&url.URL{Scheme: "file", Path: "/" + strings.TrimPrefix(name, "/")}).String()}
	}
	a := sarifArtifact{URI: (&url.URL{Path: name}).String()}
	if below(name) {
		a.BaseID = sourceRoot
	}
	return a
}
