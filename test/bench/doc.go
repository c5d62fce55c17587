// Package bench measures what drawbridge costs, side by side with the least that it could cost. `make bench` runs all
// of it; one is run alone by
//
//	go test -run '^$' -bench Writes -benchtime 1x ./test/bench
//
// Only ratios of one run count: the contestants take turns, request by request or batch by batch, so that a machine
// whose speed drifts is as slow for one as for the other. Nothing here is asserted: a benchmark is no timed test. What
// `go test` runs is the same code with tiny sizes, so that it does not rot.
//
//   - BenchmarkWrites: how long a client waits for a write, through a real API server and etcd: with no admission at
//     all, with a ValidatingAdmissionPolicy of one CEL rule, with an empty controller-runtime webhook, and with the
//     manager as its binary. The empty webhook admits all, and is asked twice, to mutate and to validate, as drawbridge
//     is; it has none of the match conditions that keep the control plane's writes away from drawbridge.
//   - BenchmarkHandler: the handlers over TLS without an API server, by the number of connections, beside the same
//     empty webhook.
//   - BenchmarkMemory: the resident memory of the manager with 10,000 each of Services, EndpointSlices and Ingresses
//     in its cache, and writes beside such a cache.
//   - BenchmarkRequest: what HAProxy spends on a request.
//
// What was seen (2 cores that did much else, etcd without fsync): a write waits 1.6 to 2 ms. An empty webhook adds 1.2 to
// 1.5 ms to that at the median, and drawbridge 1.2 to 1.3 times as much; 1.8 times where it mends, for then the API server
// patches the object and judges it anew. Where the empty webhook is given drawbridge's match conditions, which keep it
// from stopping the control plane, that is 1.04 to 1.16 times: most of the difference is the API server's work on them.
// The 99th percentile was 0.6 to 1.5 times that of the empty webhook in most runs, and now and then twice: it is more the
// machine's than either's, so look at several. With 10,000 of each kind 92 MiB are resident at rest and 95 at rest after
// writes, 35 of them the program; 105 at most, while the leader looks at all of it and while writes keep coming.
//
// Reviews and single rules are measured in policy/rules.
package bench
