// Package audit judges what a cluster already holds: what was there before drawbridge came, what came while nobody
// answered admission, and what a new policy sees in another light.
//
// The leader does so when it begins to lead, on every change of the policy and at an interval, from the informers'
// caches, beside the path of admission and with pauses. It mends nothing. What it finds shows as metrics, as Events on
// the objects and, where the API of OpenReports is installed, as Reports.
package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	openreports "github.com/openreports/reports-api/apis/openreports.io/v1alpha1"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"drawbridge.dev/drawbridge/policy"
)

const (
	// slice and pause leave at least half of a processor to admission.
	slice = 2 * time.Millisecond
	pause = 2 * time.Millisecond
	// soon is when to look again whether the policy and the caches are there.
	soon = 100 * time.Millisecond
	// settle is how long the policy must stay as it is before the audit begins, and spacing the least between the
	// beginnings of two runs: a policy that somebody edits line by line costs no run for each.
	settle  = 500 * time.Millisecond
	spacing = 3 * time.Second
	// lookout is how often to ask whether the API of OpenReports came or went.
	lookout = 20 * time.Second
	// budget is how long one namespace may take: as long as half a million ordinary objects do.
	budget = 10 * time.Second
	// maxLogged bounds what one run logs of objects that it can not judge.
	maxLogged = 10
)

// Options is what the audit works with; every field but Changed, Exempt and Registry is required.
type Options struct {
	Book policy.Book
	// Policy gives the policy in force, nil while it is not read yet.
	Policy func() *policy.Config
	// Ready tells whether the caches are filled.
	Ready func() bool
	// Objects lists what is stored of the kinds that are judged, sorted by namespace. They are not changed.
	Objects func() []policy.Object
	// World gives the view of the cluster for one run; it is used by one goroutine.
	World func() policy.World
	// Changed runs the audit on each value; nil for never.
	Changed <-chan struct{}
	// Interval is the time between two runs, from beginning to beginning.
	Interval time.Duration
	// Exempt are namespaces that are out of scope.
	Exempt []string
	// Reports says whether to write Reports where their API is installed.
	Reports bool
	// Registry gets the metrics; nil for none.
	Registry prometheus.Registerer
}

// Setup adds the audit to a manager, which runs it while it leads. Beside what Objects and World need, it needs the
// rights: create and patch Events of events.k8s.io; and, for Reports, get, list, create, patch and delete
// reports.openreports.io.
//
// The metrics, of the last run, and on the leader alone:
//
//   - drawbridge_audit_findings{rule,namespace,kind,level}: findings; level is deny, warn or exempt. At most 100
//     namespaces are named, those with most denials and then with most findings; the others are namespace "_other".
//   - drawbridge_audit_objects{kind} and drawbridge_audit_failed_objects: objects that were judged, and that were not
//     because a rule panicked or their namespace took too long.
//   - drawbridge_audit_last_run_timestamp_seconds and drawbridge_audit_last_run_duration_seconds.
//   - drawbridge_audit_policy_generation{generation}: the policy that it judged by.
//
// It panics where one of them is registered already.
func Setup(mgr ctrl.Manager, o Options) error {
	a := &auditor{Options: o, metrics: &metrics{}, teller: newTeller(mgr.GetEventRecorder("drawbridge-audit"))}
	if o.Registry != nil {
		o.Registry.MustRegister(a.metrics)
	}
	if o.Reports {
		api, err := discovery.NewDiscoveryClientForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
		if err != nil {
			return fmt.Errorf("ask for the API of OpenReports: %w", err)
		}
		// A client of its own: a scheme must know the group, and the manager's is shared with the whole process.
		scheme := runtime.NewScheme()
		if err := openreports.Install(scheme); err != nil {
			return fmt.Errorf("register the types of OpenReports: %w", err)
		}
		c, err := client.New(mgr.GetConfig(), client.Options{HTTPClient: mgr.GetHTTPClient(), Scheme: scheme, Mapper: mgr.GetRESTMapper()})
		if err != nil {
			return fmt.Errorf("set up a client for OpenReports: %w", err)
		}
		a.reporter = newReporter(c, api, o.Book)
	}
	return mgr.Add(a)
}

type auditor struct {
	Options
	metrics  *metrics
	teller   *teller
	reporter *reporter // nil for none

	// reported tells whether the API of OpenReports was there at the last run.
	reported bool
}

// NeedLeaderElection makes the manager run the audit while it leads.
func (a *auditor) NeedLeaderElection() bool { return true }

// Why a run began, as the log has it.
const (
	causeStart    = "start"
	causePolicy   = "policy"
	causeInterval = "interval"
	causeReports  = "reports" // the API of OpenReports came
)

// Start audits until ctx ends.
func (a *auditor) Start(ctx context.Context) error {
	ctx = log.IntoContext(ctx, log.FromContext(ctx).WithName("audit"))
	for !a.Ready() || a.Policy() == nil {
		if !sleep(ctx, soon) {
			return nil
		}
	}
	cause := causeStart
	for {
		began := time.Now()
		a.run(ctx, cause)
		if cause = a.wait(ctx, began); cause == "" {
			return nil
		}
		if !sleep(ctx, spacing-time.Since(began)) {
			return nil
		}
	}
}

// wait gives the cause of the next run, "" where ctx ended.
func (a *auditor) wait(ctx context.Context, began time.Time) string {
	next := time.NewTimer(a.Interval - time.Since(began))
	defer next.Stop()
	var look <-chan time.Time
	if a.reporter != nil {
		ticker := time.NewTicker(min(lookout, a.Interval))
		defer ticker.Stop()
		look = ticker.C
	}
	for {
		select {
		case <-ctx.Done():
			return ""
		case <-next.C:
			return causeInterval
		case _, ok := <-a.Changed:
			if !ok {
				a.Changed = nil
				continue
			}
			if !sleep(ctx, settle) {
				return ""
			}
			select {
			case <-a.Changed: // what came meanwhile is seen by the same run
			default:
			}
			return causePolicy
		case <-look:
			installed, err := a.reporter.installed()
			switch {
			case err != nil: // a later look, or the next run, will tell
			case installed && !a.reported:
				return causeReports
			default:
				a.reported = installed
			}
		}
	}
}

// sleep waits, and tells whether ctx lasted.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}

// run is one audit.
func (a *auditor) run(ctx context.Context, cause string) {
	logger := log.FromContext(ctx)
	config := a.Policy()
	out, err := a.judge(ctx, config, true)
	if err != nil {
		return // the manager ends
	}
	a.metrics.show(out)
	told, waiting := a.teller.tell(out.subjects)
	values := []any{
		"cause", cause, "policy", out.generation, "objects", sum(out.objects), "denied", out.total(levelDeny),
		"warned", out.total(levelWarn), "exempt", out.total(levelExempt), "objectsWithFindings", len(out.subjects),
		"failed", out.failed, "seconds", out.took.Seconds(), "events", told, "eventsWaiting", waiting,
	}
	if a.reporter != nil {
		applied, deleted, err := a.report(ctx, out)
		if err != nil && ctx.Err() == nil {
			logger.Error(err, "some Reports are not as the audit has it; the next run tries again")
		}
		values = append(values, "reportsApplied", applied, "reportsDeleted", deleted)
	}
	logger.Info("audited", values...)
}

// judge reviews everything, with pauses for admission or as fast as it can.
func (a *auditor) judge(ctx context.Context, config *policy.Config, pauses bool) (*outcome, error) {
	out := newOutcome(config.Generation, time.Now())
	scan := Scan{Book: a.Book, Config: config, World: a.World(), Exempt: a.Exempt, Budget: budget}
	if pauses {
		scan.Slice, scan.Pause = slice, pause
	}
	err := scan.Run(ctx, a.Objects(), func(o policy.Object, res policy.Result, err error) {
		if errors.Is(err, errBudget) {
			out.late[o.GetNamespace()]++
			out.failed++
			return
		}
		if err != nil {
			out.failed++
			if out.failed <= maxLogged {
				_, kind := kindOf(o)
				log.FromContext(ctx).Error(err, "an object could not be judged", "kind", kind, "namespace", o.GetNamespace(), "name", o.GetName())
			}
			return
		}
		out.add(o, res)
	})
	out.took = time.Since(out.started)
	for namespace, n := range out.late {
		log.FromContext(ctx).Error(errBudget, "objects were not judged", "namespace", namespace, "objects", n, "budget", budget.String())
	}
	return out, err
}

func (a *auditor) report(ctx context.Context, out *outcome) (applied, deleted int, err error) {
	a.reported, err = a.reporter.installed()
	if err != nil {
		return 0, 0, fmt.Errorf("ask for the API of OpenReports: %w", err)
	}
	if !a.reported {
		return 0, 0, nil
	}
	return a.reporter.write(ctx, out)
}

func sum(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}
