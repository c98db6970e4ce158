"""The network of BC-t, BC-r and UPDeT: one transformer, one number per action."""

from jaxtyping import Float
from torch import Tensor, nn

from lab_marl.episodes.batches import Batch
from lab_marl.episodes.layouts import Layout
from lab_marl.networks.config import TransformerConfig
from lab_marl.networks.embedding import EntityEmbedding, action_scores, batch_features, read_tokens
from lab_marl.networks.rows import Rows
from lab_marl.networks.transformer import HistoryTransformer
from lab_marl.training.entity_features import EntityFeatures


class ActionNetwork(nn.Module):
    """Logits or values of every agent's actions (LAMDA-RL/ODIS, bc_agent.py, updet_agent.py)."""

    def __init__(self, layout: Layout, config: TransformerConfig, *, extra: int = 0) -> None:
        super().__init__()
        self.id_bits = config.id_bits
        self.embedding = EntityEmbedding(layout, config, extra=extra)
        self.transformer = HistoryTransformer(config)
        self.head = nn.Linear(config.width, layout.num_non_attack)

    def forward(
        self, batch: Batch, rows: Rows, extra: Float[Tensor, "rows n e"] | None = None
    ) -> Float[Tensor, "rows n a"]:
        """Scores of the actions at some frames of a batch."""
        features = batch_features(batch, rows, id_bits=self.id_bits)
        tokens = self.embedding(features, extra)
        outputs = self.transformer.unroll(tokens, rows.counts, read=read_tokens(batch.layout))
        return action_scores(batch.layout, self.head(outputs))

    def begin(self, agents: int) -> Tensor:
        return self.transformer.begin(agents)

    def step(
        self,
        layout: Layout,
        features: EntityFeatures,
        memory: Tensor,
        extra: Float[Tensor, "rows n e"] | None = None,
    ) -> tuple[Float[Tensor, "rows n a"], Tensor]:
        """Scores of the actions after one more observation of each agent."""
        tokens = self.embedding(features, extra)
        outputs, memory = self.transformer.step(tokens, memory, read=read_tokens(layout))
        return action_scores(layout, self.head(outputs)), memory
