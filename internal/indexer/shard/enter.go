package shard

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/cluster/local"
)

// Enter makes the records of this node part of what the nodes share, or says why they must not be: each node trusts
// that the copies of others are what the table says. It comes before anything is served, and may be repeated. A node that has no
// records, or is alone, has nothing to do.
func (sh *Shard) Enter(ctx context.Context) error {
	if sh.router == nil || sh.replica == nil {
		return nil
	}
	own, err := sh.records.Identity(ctx)
	if err != nil {
		return err
	}
	row, err := sh.members.Find(ctx, sh.name())
	known := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	table := cluster.NewTable(sh.o.State)
	of, err := sh.belong(ctx, table, own, known && row.Store == "")
	if err != nil {
		return err
	}
	if known && (row.Store == own || row.Store == "") || !known && of.Store == own {
		return nil
	}
	only, err := table.Distrust(ctx, sh.name())
	if errors.Is(err, cluster.ErrUnavailable) {
		return fmt.Errorf("shard: the store of this node (ipni.values) is not the one that %q had, which has the only copy in sync of %d partitions: put that back, "+
			"or lose them with 'hashstream ipni leave %s --force' on another node (with no other node, 'hashstream ipni found --again' here) and start again: %w", sh.name(), only, sh.name(), fs.ErrInvalid)
	}
	return err
}

// belong makes the records of this node those of the cluster that the table is of, which it founds if it is of none. earlier
// is a member that joined before stores had names.
func (sh *Shard) belong(ctx context.Context, table *cluster.Table, own string, earlier bool) (cluster.Founding, error) {
	mine, err := sh.records.Cluster(ctx)
	if err != nil {
		return cluster.Founding{}, err
	}
	of, err := table.Founding(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		if mine != "" {
			return of, fmt.Errorf("shard: ipni.state is empty, but the records of this node belong to a cluster: its state is lost, or ipni.state names another one. Restore it; or, "+
				"if it is gone for good, begin anew with the records of one node by 'hashstream ipni found --again' there, and empty ipni.values on the others: %w", fs.ErrInvalid)
		}
		of, err = sh.begin(ctx, table, own)
	}
	if err != nil || mine == of.ID {
		return of, err
	}
	empty, err := sh.records.Empty(ctx)
	if err != nil {
		return of, err
	}
	switch {
	case mine != "":
		return of, fmt.Errorf("shard: the records of this node belong to another cluster than that of ipni.state: set the ipni.state that they belong to, or move them away (ipni.values) "+
			"and start with none: %w", fs.ErrInvalid)
	case !empty && !earlier && of.Store != own:
		return of, fmt.Errorf("shard: this node has records that the nodes of ipni.state know nothing of, and would delete. To keep them, start this node first, on an empty ipni.state; "+
			"else move them away (ipni.values) and start with none: %w", fs.ErrInvalid)
	}
	return of, sh.records.SetCluster(ctx, of.ID)
}

// begin founds a cluster with the records of this node, if nobody else does. A table that has rows was founded before
// that was written down.
func (sh *Shard) begin(ctx context.Context, table *cluster.Table, own string) (cluster.Founding, error) {
	rows, err := table.Load(ctx)
	if err != nil {
		return cluster.Founding{}, err
	}
	f := cluster.Founding{ID: local.NewID(), Store: own}
	for _, row := range rows {
		if row.Epoch > 0 {
			f.Store = ""
		}
	}
	return table.Begin(ctx, f)
}

// Found begins a cluster anew with the records of this node, which does not run: every partition is in sync here, whatever
// it lacks. It is for a state that was lost, or one in which no other node with records is a member.
func (sh *Shard) Found(ctx context.Context) error {
	if sh.router == nil || sh.replica == nil {
		return errAlone
	}
	all, err := sh.members.List(ctx)
	if err != nil {
		return err
	}
	var others []string
	for _, m := range all {
		if m.ID != sh.name() && m.Has(cluster.RoleStore) {
			others = append(others, m.ID)
		}
	}
	if len(others) > 0 {
		return fmt.Errorf("shard: %s keep records by ipni.state; remove them first with 'hashstream ipni leave NODE' where one of them runs, or join them by starting this node: %w", strings.Join(others, ", "), fs.ErrInvalid)
	}
	own, err := sh.records.Identity(ctx)
	if err != nil {
		return err
	}
	of := cluster.Founding{ID: local.NewID(), Store: own}
	if err := cluster.NewTable(sh.o.State).Again(ctx, of, sh.name()); err != nil {
		return err
	}
	return sh.records.SetCluster(ctx, of.ID)
}

// single returns an error if another member that is alive has the same store, which a copied disk is. One that
// is not heard of for a TTL is this node under an earlier name.
func (sh *Shard) single(ctx context.Context, own string) error {
	beats := map[string]cluster.Member{}
	for {
		all, err := sh.members.List(ctx)
		if err != nil {
			return err
		}
		wait := false
		for _, m := range all {
			if m.ID == sh.name() || m.Store != own || !m.Alive {
				continue
			}
			first, seen := beats[m.ID]
			if seen && (first.Beat != m.Beat || first.Incarnation != m.Incarnation) {
				return fmt.Errorf("shard: the store of this node (ipni.values) is that of %q too, which is alive: begin with an empty one here: %w", m.ID, fs.ErrInvalid)
			}
			beats[m.ID], wait = m.Member, true
		}
		if !wait {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Second):
		}
	}
}
