package indexer

import (
	"context"
	"fmt"
	"net/http"

	"github.com/hashstream/hashstream/internal/identity"
	"github.com/hashstream/hashstream/internal/indexer/operate"
	"github.com/hashstream/hashstream/ipni/assign"
	"github.com/hashstream/hashstream/ipni/ipnihttp/ingesthttp"
)

func (s *Service) openOperator(context.Context) error {
	if file := s.config.Admin.IPNITokenFile; file != "" {
		token, err := identity.Token(s.path(file))
		if err != nil {
			return fmt.Errorf("indexer: admin.ipni_token_file: %w", err)
		}
		s.token = token
	}
	n := operate.Node{
		ID: s.id, Ingester: s.ingester, Registry: s.registry, State: s.state, Owns: s.shard.Owns,
		Listed: s.config.Ingest.Publishers == "listed", Usage: s.usage, Log: s.log,
		Follow: handing{announced{s.ingester}, s.shard}.Announce, Import: s.importForOperator,
	}
	if s.shard.Together() {
		n.Leases, n.Member = assign.NewTable(s.state), s.config.Shard.Name
		if n.Member == "" {
			n.Member = s.id.String()
		}
	}
	s.operator = operate.New(n)
	return nil
}

// Operator returns the handler of what operators tell the index to do, or nil if nobody may.
func (s *Service) Operator() http.Handler {
	if s.token == "" {
		return nil
	}
	return s.operator.Handler(s.token)
}

// Status returns what assigners ask a node for.
func (s *Service) Status() ingesthttp.NodeStatus { return s.operator.Status() }

// importForOperator follows the publishers that another index knows, and logs why it does not follow
// some of them.
func (s *Service) importForOperator(ctx context.Context, indexer string) error {
	done, err := s.importPublishers(ctx, indexer)
	if done == nil {
		return err
	}
	for _, failed := range done.Failed {
		s.log.Warn("import", "failed", failed)
	}
	s.log.Info("import", "publishers", done.Publishers, "failed", len(done.Failed))
	return err
}
