package lease

import "time"

// Preview returns what [Pool.Offer] would grant now, and reserves nothing: the next client may get the same address. No address is probed, so
// that one may turn out to be in use that looks free. Errors are those of Offer.
func (p *Pool) Preview(r Request) (Grant, error) {
	client, err := r.normalise()
	if err != nil {
		return Grant{}, err
	}
	n := p.network(r.Link)
	if n == nil {
		return Grant{}, silence("no subnet of ours contains %v", r.Link)
	}
	now := p.now()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.expireLocked(now)
	return n.previewLocked(&r, client, now)
}

func (n *network) previewLocked(r *Request, client string, now time.Time) (Grant, error) {
	if s := n.replacedLocked(r, client, now); s != nil {
		return n.grant(s, r, now), nil
	}
	a, _, err := n.selectLocked(r, client, now)
	if err != nil {
		return Grant{}, err
	}
	return n.grant(&slot{address: a}, r, now), nil
}
