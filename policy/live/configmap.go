package live

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// CacheOptions narrows a cache's ConfigMaps to the one that holds the policy, so that RBAC need grant no other.
func CacheOptions(key types.NamespacedName) cache.ByObject {
	return cache.ByObject{Namespaces: map[string]cache.Config{
		key.Namespace: {FieldSelector: fields.OneTermEqualSelector("metadata.name", key.Name)},
	}}
}

// Follow keeps the Policy as the ConfigMap says, by an informer of the cache, which must be told of by CacheOptions and
// not be started yet. Where there is no ConfigMap, or it has no key [Key], the default is in force. A wrong policy is
// refused with an Event on the ConfigMap, a line in the log and the metric, and the one before stays: the default,
// where there was none, because a webhook that answers nothing would stop the whole cluster.
//
// loaded tells, without waiting, whether the ConfigMap has been read once.
func (p *Policy) Follow(ctx context.Context, c cache.Cache, key types.NamespacedName, recorder events.EventRecorder) (loaded func() bool, err error) {
	informer, err := c.GetInformer(ctx, &corev1.ConfigMap{}, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, fmt.Errorf("watch the policy ConfigMap '%s': %w", key, err)
	}
	logger := log.FromContext(ctx).WithName("policy").WithValues("configMap", key.String())
	refused := "" // the resource version whose policy was refused; the informer calls one handler after the other
	load := func(o any) {
		cm, ok := o.(*corev1.ConfigMap)
		if !ok || cm.Namespace != key.Namespace || cm.Name != key.Name {
			return
		}
		text, ok := cm.Data[Key]
		if !ok {
			p.Reset()
			logger.Info("the ConfigMap has no key policy.yaml, the default policy is in force")
			return
		}
		if err := p.Load([]byte(text)); err != nil {
			logger.Error(err, "the policy is wrong, the one before stays in force", "generation", p.Current().Generation)
			if recorder != nil && refused != cm.ResourceVersion {
				refused = cm.ResourceVersion
				recorder.Eventf(cm, nil, corev1.EventTypeWarning, "InvalidPolicy", "LoadPolicy",
					"%s is refused, policy %s stays in force: %s", Key, p.Current().Generation, note(err))
			}
			return
		}
		logger.Info("policy in force", "generation", p.Current().Generation)
	}
	registration, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    load,
		UpdateFunc: func(_, o any) { load(o) },
		DeleteFunc: func(o any) {
			if gone, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
				o = gone.Obj
			}
			if cm, ok := o.(*corev1.ConfigMap); ok && cm.Namespace == key.Namespace && cm.Name == key.Name {
				p.Reset()
				logger.Info("the ConfigMap is gone, the default policy is in force")
			}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("watch the policy ConfigMap '%s': %w", key, err)
	}
	return registration.HasSynced, nil
}

// note fits an error into an Event, whose note the API server wants to be at most 1024 bytes.
func note(err error) string {
	const most = 800
	text := strings.ToValidUTF8(err.Error(), "\uFFFD")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}
