package controller

import (
	"github.com/prometheus/client_golang/prometheus"
)

var (
	liveChanges = prometheus.NewDesc("drawbridge_live_changes_total",
		"Changes of routes, addresses and certificates made in a running HAProxy.", nil, nil)
	reloads = prometheus.NewDesc("drawbridge_reloads_total",
		"Reloads of HAProxy, by what made them necessary.", []string{"cause"}, nil)
	problems = prometheus.NewDesc("drawbridge_problems",
		"What can not be served as an object asks for, by kind.", []string{"kind"}, nil)
)

// Describe implements prometheus.Collector.
func (c *Controller) Describe(ch chan<- *prometheus.Desc) {
	ch <- liveChanges
	ch <- reloads
	ch <- problems
}

// Collect implements prometheus.Collector.
func (c *Controller) Collect(ch chan<- prometheus.Metric) {
	n := c.Proxy.Counters()
	ch <- prometheus.MustNewConstMetric(liveChanges, prometheus.CounterValue, float64(n.LiveChanges))
	for cause, count := range n.Reloads {
		ch <- prometheus.MustNewConstMetric(reloads, prometheus.CounterValue, float64(count), cause)
	}
	for kind, count := range c.Problems() {
		ch <- prometheus.MustNewConstMetric(problems, prometheus.GaugeValue, float64(count), string(kind))
	}
}
