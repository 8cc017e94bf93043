package auth

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"
	authentication "k8s.io/api/authentication/v1"
	authorization "k8s.io/api/authorization/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/cache"

	"dspyagent.io/orchestrator/internal/kube"
)

const (
	rememberYes   = time.Minute
	rememberNo    = 5 * time.Second // short: a right that was just given is tried again
	maxRemembered = 4096
	reviewTimeout = 5 * time.Second

	serviceAccount = "system:serviceaccount:"
	allNamespaces  = "" // as an access review says it
)

// Kubernetes knows the tokens that the cluster knows, and allows what its roles allow: to read a tenant's tasks is to get
// envtasks.dspyagent.io in the namespace of that name, to send and change them is to create those. Who may do both in
// every namespace is an admin. A service account's tenant is its namespace; people have none of their own.
type Kubernetes struct {
	client    kube.Client
	audiences []string

	reviews   *cache.LRUExpireCache // hash of a token → *subject, nil for one that is unknown
	decisions *cache.LRUExpireCache // decision → bool
	asking    singleflight.Group
}

// subject is whom a token stands for.
type subject struct {
	kubernetes *Kubernetes
	hash       [sha256.Size]byte
	user       authentication.UserInfo
}

type decision struct {
	hash   [sha256.Size]byte
	verb   Verb
	tenant string
}

// NewKubernetes asks that cluster. Tokens must be meant for one of the audiences, or for the apiserver when there are none.
func NewKubernetes(client kube.Client, audiences ...string) *Kubernetes {
	return &Kubernetes{
		client: client, audiences: audiences,
		reviews: cache.NewLRUExpireCache(maxRemembered), decisions: cache.NewLRUExpireCache(maxRemembered),
	}
}

// Authenticate implements Authenticator.
func (k *Kubernetes) Authenticate(ctx context.Context, token string) (Principal, error) {
	hash := sha256.Sum256([]byte(token))
	s, known := k.reviews.Get(hash)
	if !known {
		var err error
		if s, err = k.together(ctx, "token "+string(hash[:]), func(ctx context.Context) (any, error) {
			return k.review(ctx, token, hash)
		}); err != nil {
			return Principal{}, err
		}
	}
	who, _ := s.(*subject)
	if who == nil {
		return Principal{}, ErrUnknown
	}
	return who.principal(ctx)
}

// together asks the cluster once for all who want to know the same at the same time, none of whose leaving ends it.
func (k *Kubernetes) together(ctx context.Context, what string, ask func(context.Context) (any, error)) (any, error) {
	answers := k.asking.DoChan(what, func() (any, error) {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), reviewTimeout)
		defer cancel()
		return ask(bounded)
	})
	select {
	case answer := <-answers:
		return answer.Val, answer.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (k *Kubernetes) review(ctx context.Context, token string, hash [sha256.Size]byte) (*subject, error) {
	answer, err := k.client.AuthenticationV1().TokenReviews().Create(ctx, &authentication.TokenReview{
		Spec: authentication.TokenReviewSpec{Token: token, Audiences: k.audiences},
	}, meta.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("reviewing a token: %w", err)
	}
	// An apiserver that knows nothing of audiences names none: then the token is not known to be for us.
	forUs := len(k.audiences) == 0 || slices.ContainsFunc(answer.Status.Audiences, func(a string) bool { return slices.Contains(k.audiences, a) })
	if !answer.Status.Authenticated || !forUs {
		k.reviews.Add(hash, (*subject)(nil), rememberNo)
		return nil, nil
	}
	s := &subject{k, hash, answer.Status.User}
	k.reviews.Add(hash, s, rememberYes)
	return s, nil
}

func (s *subject) principal(ctx context.Context) (Principal, error) {
	p := Principal{Name: s.user.Username, rules: s}
	if account, found := strings.CutPrefix(s.user.Username, serviceAccount); found {
		p.Tenant, _, _ = strings.Cut(account, ":")
	}
	for _, verb := range []Verb{Write, Read} {
		everywhere, err := s.may(ctx, verb, allNamespaces)
		if err != nil {
			return Principal{}, err
		}
		if !everywhere {
			return p, nil
		}
	}
	p.Admin = true
	return p, nil
}

// allowed implements rules.
func (s *subject) allowed(ctx context.Context, _ Principal, verb Verb, tenant string) (bool, error) {
	if !TenantForm.MatchString(tenant) {
		return false, nil
	}
	return s.may(ctx, verb, tenant)
}

func (s *subject) may(ctx context.Context, verb Verb, namespace string) (bool, error) {
	about := decision{s.hash, verb, namespace}
	if known, found := s.kubernetes.decisions.Get(about); found {
		return known.(bool), nil
	}
	answer, err := s.kubernetes.together(ctx, string(verb)+" "+namespace+" "+string(s.hash[:]), func(ctx context.Context) (any, error) {
		return s.ask(ctx, about)
	})
	allowed, _ := answer.(bool)
	return allowed, err
}

func (s *subject) ask(ctx context.Context, about decision) (bool, error) {
	extra := map[string]authorization.ExtraValue{}
	for key, values := range s.user.Extra {
		extra[key] = authorization.ExtraValue(values)
	}
	answer, err := s.kubernetes.client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorization.SubjectAccessReview{
		Spec: authorization.SubjectAccessReviewSpec{
			User: s.user.Username, UID: s.user.UID, Groups: s.user.Groups, Extra: extra,
			ResourceAttributes: &authorization.ResourceAttributes{
				Group: "dspyagent.io", Resource: "envtasks", Verb: string(about.verb), Namespace: about.tenant,
			},
		},
	}, meta.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("reviewing access: %w", err)
	}
	allowed := answer.Status.Allowed && !answer.Status.Denied
	remember := rememberNo
	if allowed {
		remember = rememberYes
	}
	s.kubernetes.decisions.Add(about, allowed, remember)
	return allowed, nil
}
