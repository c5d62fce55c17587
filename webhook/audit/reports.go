package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	openreports "github.com/openreports/reports-api/apis/openreports.io/v1alpha1"
	applyreports "github.com/openreports/reports-api/pkg/client/applyconfiguration/openreports.io/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"drawbridge.dev/drawbridge/policy"
)

const (
	// resultsPerReport keeps a Report well below the megabyte and a half that the API server stores: a result is about
	// 700 bytes, and four times that when everything in it is spelled with four-byte characters.
	resultsPerReport = 300
	// reportsPerNamespace bounds what one namespace full of findings costs the cluster.
	reportsPerNamespace = 10
	// reportName is the first Report of a namespace; the next are <reportName>-2 and so on.
	reportName = "drawbridge"
	// managedBy is the label that, together with the name, makes a Report drawbridge's own.
	managedBy = "app.kubernetes.io/managed-by"
	pageSize  = 500

	fieldOwner = client.FieldOwner("drawbridge")
)

var reportGVK = schema.GroupVersionKind{Group: openreports.GroupName, Version: openreports.GroupVersion.Version, Kind: "Report"}

// reporter keeps the Reports of OpenReports (https://openreports.io) as the last run found things: in each namespace
// with findings as many as it takes, and none in others.
type reporter struct {
	client client.Client // of the API server, not of the cache
	api    discovery.ServerResourcesInterface
	guards map[string]bool

	// since is when a finding was first seen by this process, in seconds since 1970.
	since map[findingID]int64
	// written are the Reports as they were written, so that what did not change is not written again.
	written map[types.NamespacedName]written
	// refused tells that the log says already why there are no Reports.
	refused bool
}

type written struct {
	digest  uint64
	version string
}

// findingID is the hash of an object's UID, the rule, level and field.
type findingID uint64

func newReporter(c client.Client, api discovery.ServerResourcesInterface, book policy.Book) *reporter {
	r := &reporter{
		client: c, api: api, guards: map[string]bool{},
		since: map[findingID]int64{}, written: map[types.NamespacedName]written{},
	}
	for _, info := range book.Infos() {
		r.guards[info.ID] = info.Guard
	}
	return r
}

// installed tells whether the API server has the API. It asks each time: the API may come and go.
func (r *reporter) installed() (bool, error) {
	list, err := r.api.ServerResourcesForGroupVersion(reportGVK.GroupVersion().String())
	switch {
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, err
	}
	for i := range list.APIResources {
		if list.APIResources[i].Kind == reportGVK.Kind {
			return true, nil
		}
	}
	return false, nil
}

// write brings the Reports to what a run found: it applies those that changed and deletes those that are not wanted any
// more. It gives the number of each. One that can not be written does not keep the others from it.
func (r *reporter) write(ctx context.Context, out *outcome) (applied, deleted int, err error) {
	there, err := r.list(ctx)
	if err != nil {
		return 0, 0, r.explain(ctx, err)
	}
	var errs []error
	since := map[findingID]int64{}
	wanted := map[types.NamespacedName]bool{}
	for subjects := range byNamespace(out.subjects) {
		for _, report := range r.reports(subjects, since, out.started) {
			if err := ctx.Err(); err != nil {
				return applied, deleted, err
			}
			key := types.NamespacedName{Namespace: *report.Namespace, Name: *report.Name}
			wanted[key] = true
			digest, err := digestOf(report)
			if err != nil {
				return applied, deleted, err
			}
			before, known := r.written[key]
			if at, ok := there[key]; ok && known && before.digest == digest && before.version == at.ResourceVersion {
				continue
			}
			switch err := r.client.Apply(ctx, report, fieldOwner, client.ForceOwnership); {
			case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause), apierrors.IsNotFound(err):
				// The namespace, or the whole API, is going.
			case err != nil:
				errs = append(errs, fmt.Errorf("apply Report '%s': %w", key, err))
			default:
				applied++
				version := ""
				if report.ResourceVersion != nil {
					version = *report.ResourceVersion
				}
				r.written[key] = written{digest: digest, version: version}
			}
		}
	}
	r.since = since
	for key, report := range there {
		if wanted[key] {
			continue
		}
		delete(r.written, key)
		err := r.client.Delete(ctx, report, client.Preconditions{UID: &report.UID})
		if client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {
			errs = append(errs, fmt.Errorf("delete Report '%s': %w", key, err))
			continue
		}
		deleted++
	}
	for key := range r.written {
		if !wanted[key] {
			delete(r.written, key)
		}
	}
	if len(errs) > 0 {
		return applied, deleted, r.explain(ctx, errors.Join(errs[:min(len(errs), 3)]...))
	}
	r.refused = false
	return applied, deleted, nil
}

// explain logs what is refused once and not at every run: it stays so until somebody grants the right.
func (r *reporter) explain(ctx context.Context, err error) error {
	var status apierrors.APIStatus
	switch {
	case errors.As(err, &status) && apierrors.IsForbidden(err):
		if !r.refused {
			log.FromContext(ctx).Error(err, "the API of OpenReports is installed, and the manager may not write Reports; grant it 'get', 'list', 'create', 'patch' and 'delete' of 'reports.openreports.io', or run it with --audit-reports=false")
		}
		r.refused = true
		return nil
	case apierrors.IsNotFound(err):
		return nil // the API went meanwhile
	}
	return err
}

// list gives drawbridge's own Reports. A Report that somebody else calls by the label alone is left alone.
func (r *reporter) list(ctx context.Context) (map[types.NamespacedName]*metav1.PartialObjectMetadata, error) {
	out := map[types.NamespacedName]*metav1.PartialObjectMetadata{}
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(reportGVK.GroupVersion().WithKind(reportGVK.Kind + "List"))
	for {
		err := r.client.List(ctx, list, client.MatchingLabels{managedBy: reportName}, client.Limit(pageSize), client.Continue(list.Continue))
		if err != nil {
			return nil, fmt.Errorf("list Reports: %w", err)
		}
		for i := range list.Items {
			item := list.Items[i]
			if !ownName(item.Name) {
				continue
			}
			item.SetGroupVersionKind(reportGVK)
			out[types.NamespacedName{Namespace: item.Namespace, Name: item.Name}] = &item
		}
		if list.Continue == "" {
			return out, nil
		}
	}
}

func ownName(name string) bool {
	if name == reportName {
		return true
	}
	number, ok := strings.CutPrefix(name, reportName+"-")
	n, err := strconv.Atoi(number)
	return ok && err == nil && n > 1 && strconv.Itoa(n) == number
}

// byNamespace cuts the subjects of a run where their namespace changes.
func byNamespace(subjects []subject) func(yield func([]subject) bool) {
	return func(yield func([]subject) bool) {
		for begin := 0; begin < len(subjects); {
			end := begin
			for end < len(subjects) && subjects[end].object.GetNamespace() == subjects[begin].object.GetNamespace() {
				end++
			}
			if !yield(subjects[begin:end]) {
				return
			}
			begin = end
		}
	}
}

// reports are the Reports of one namespace.
func (r *reporter) reports(subjects []subject, since map[findingID]int64, now time.Time) []*applyreports.ReportApplyConfiguration {
	namespace := subjects[0].object.GetNamespace()
	var list []*applyreports.ReportApplyConfiguration
	var report *applyreports.ReportApplyConfiguration
	left := 0
	for i := range subjects {
		s := &subjects[i]
		left += s.more
		for _, f := range s.found {
			if report == nil || len(report.Results) == resultsPerReport {
				if len(list) == reportsPerNamespace {
					left++
					continue
				}
				report = newReport(namespace, len(list)+1)
				list = append(list, report)
			}
			id := idOf(s.object, f)
			at, known := r.since[id]
			if !known {
				at = now.Unix()
			}
			since[id] = at
			report.Results = append(report.Results, *r.result(s.object, f, at))
		}
	}
	if left > 0 {
		report.Results = append(report.Results, *applyreports.ReportResult().
			WithPolicy(reportName).WithRule("left-out").WithResult("skip").WithSeverity("info").
			WithTimestamp(metav1.Timestamp{Seconds: now.Unix()}).
			WithDescription(fmt.Sprintf("%d more findings are left out here; 'drawbridge audit --namespace %s' lists all", left, namespace)))
	}
	for _, report := range list {
		summarize(report)
	}
	return list
}

func newReport(namespace string, number int) *applyreports.ReportApplyConfiguration {
	name := reportName
	if number > 1 {
		name += "-" + strconv.Itoa(number)
	}
	limits := applyreports.Limits().WithMaxResults(resultsPerReport).WithStatusFilter("fail", "warn", "skip")
	return applyreports.Report(name, namespace).
		WithLabels(map[string]string{managedBy: reportName, "app.kubernetes.io/name": reportName}).
		WithSource(reportName).
		WithScope(corev1.ObjectReference{APIVersion: "v1", Kind: "Namespace", Name: namespace}).
		WithConfiguration(applyreports.ReportConfiguration().WithLimits(limits))
}

// result says a finding in the words of OpenReports: what admission would deny fails, what is exempt is skipped.
func (r *reporter) result(o policy.Object, f found, at int64) *applyreports.ReportResultApplyConfiguration {
	apiVersion, kind := kindOf(o)
	result := applyreports.ReportResult().
		WithPolicy(reportName).WithRule(f.Rule).WithCategory("mistake").
		WithTimestamp(metav1.Timestamp{Seconds: at}).
		WithDescription(strings.ToValidUTF8(f.Message(), "\uFFFD")).
		WithSubjects(corev1.ObjectReference{APIVersion: apiVersion, Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName(), UID: o.GetUID()})
	if r.guards[f.Rule] {
		result.WithCategory("risk")
	}
	switch f.level {
	case levelDeny:
		result.WithResult("fail").WithScored(true).WithSeverity("medium")
		if r.guards[f.Rule] {
			result.WithSeverity("high")
		}
	case levelWarn:
		result.WithResult("warn").WithSeverity("low")
	default:
		result.WithResult("skip").WithSeverity("info").WithProperties(map[string]string{"exemptedBy": string(f.By)})
	}
	return result
}

func summarize(report *applyreports.ReportApplyConfiguration) {
	var fail, warn, skip int
	for i := range report.Results {
		switch *report.Results[i].Result {
		case "fail":
			fail++
		case "warn":
			warn++
		default:
			skip++
		}
	}
	report.WithSummary(applyreports.ReportSummary().WithPass(0).WithFail(fail).WithWarn(warn).WithError(0).WithSkip(skip))
}

func idOf(o policy.Object, f found) findingID {
	h := fnv.New64a()
	for _, part := range [...]string{string(o.GetUID()), o.GetNamespace(), o.GetName(), f.level, f.Rule, f.Err.Field} {
		_, _ = h.Write([]byte(part))
		_, _ = h.Write([]byte{0})
	}
	return findingID(h.Sum64())
}

func digestOf(report *applyreports.ReportApplyConfiguration) (uint64, error) {
	text, err := json.Marshal(report)
	if err != nil {
		return 0, fmt.Errorf("write Report '%s/%s': %w", *report.Namespace, *report.Name, err)
	}
	h := fnv.New64a()
	_, _ = h.Write(text)
	return h.Sum64(), nil
}
