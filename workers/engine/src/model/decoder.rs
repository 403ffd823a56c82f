//! One flat-batch decoder for the Llama / Mistral / Qwen2 / Qwen3 family.
//!
//! All rows of a step, whichever sequences they belong to, go through each matrix together; only
//! attention looks at a row's own sequence. Pre-norm blocks with RMS norm, rotary positions,
//! grouped queries (Ainslie et al. 2023) and a gated MLP. Called by `runner`.

use super::config::{Architecture, ModelConfig};
use super::kernel;
use super::linear::{Embedding, Linear, forward_all};
use super::quantised::Activations;
use super::rope::Rope;
use super::threads::Threads;
use super::weights::{Name, Part, Source};
use crate::attn::cpu::Attention;
use crate::attn::plan::{Plan, Row};
use crate::kv::KvStore;
use crate::kv::pool::BlockId;
use crate::open::OpenError;

/// What one number takes in multiply-adds, as far as it decides whether threads share the rows.
const NORM_COST: usize = 4;
const ADD_COST: usize = 2;
const ROTATION_COST: usize = 4;
const GATE_COST: usize = 20;

/// Which rows of a span need logits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Logits {
    /// None: the middle of a prompt.
    None,
    /// The last row.
    Last,
    /// The last row, of which the likeliest tokens are enough where a device can tell them; they are drawn at this temperature.
    Best { temperature: f32 },
    /// Every row, for comparisons.
    #[cfg_attr(not(test), expect(dead_code, reason = "the comparison with reference logits wants all rows"))]
    All,
}

/// Consecutive tokens of one sequence.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    /// Tokens to compute.
    pub tokens: Vec<u32>,
    /// Position of the first of them.
    pub start: usize,
    /// Block table, long enough for the last of them.
    pub blocks: Vec<BlockId>,
    /// Rows wanted.
    pub logits: Logits,
}

struct Layer {
    attn_norm: Vec<f32>,
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    q_norm: Option<Vec<f32>>,
    k_norm: Option<Vec<f32>>,
    mlp_norm: Vec<f32>,
    gate: Linear,
    up: Linear,
    down: Linear,
}

/// A loaded model.
pub(crate) struct Decoder {
    config: ModelConfig,
    embedding: Embedding,
    layers: Vec<Layer>,
    final_norm: Vec<f32>,
    output: Linear,
    rope: Rope,
}

/// Buffers that live from step to step, so that decoding does not allocate.
#[derive(Default)]
pub(crate) struct Scratch {
    x: Vec<f32>,
    normed: Vec<f32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    attended: Vec<f32>,
    projected: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    angles: Vec<f32>,
    quantised: Activations,
    attention: Attention,
}

impl Scratch {
    /// Empty buffers.
    pub fn new(attention: Attention) -> Self {
        Self { attention, ..Self::default() }
    }
}

impl Decoder {
    /// Loads all weights.
    ///
    /// # Errors
    /// A missing tensor or one of another shape, by name.
    pub fn load(config: ModelConfig, source: &mut dyn Source) -> Result<Self, OpenError> {
        let hidden = config.hidden;
        let (embedding, shared) = source.embedding(config.vocab, hidden, config.tied)?;
        let mut layers = Vec::with_capacity(config.layers);
        for layer in 0..config.layers {
            layers.push(load_layer(&config, source, layer)?);
        }
        let final_norm = vector(source, Name::FinalNorm, hidden)?;
        let output = match shared {
            Some(output) => output,
            None => linear(source, Name::Output, config.vocab, hidden)?,
        };
        let rope = Rope::new(config.rope_theta, config.head_dim, &config.rope_scaling, config.rope_pairs);
        Ok(Self { config, embedding, layers, final_norm, output, rope })
    }

    /// Shape of the model.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Computes all spans, writes their keys and values into `store`, and returns the wanted rows
    /// of logits, `[rows, vocab]`, in the order of the spans.
    ///
    /// # Errors
    /// Only from quantised products.
    pub fn forward(
        &self,
        spans: &[Span],
        store: &mut KvStore,
        scratch: &mut Scratch,
        threads: &Threads,
    ) -> candle_core::Result<Vec<f32>> {
        let mut s = std::mem::take(scratch);
        self.embed(spans, &mut s);
        let rows: Vec<Row<'_>> = spans
            .iter()
            .flat_map(|span| {
                let contexts = span.start + 1..=span.start + span.tokens.len();
                contexts.map(|context| Row { blocks: &span.blocks, context })
            })
            .collect();
        let group = self.config.heads / self.config.kv_heads;
        let block_tokens = store.shape().block_tokens;
        let plan = s.attention.plan(&rows, group, store);
        let place = |row: &Row<'_>| {
            let position = row.context - 1;
            (row.blocks[position / block_tokens], position % block_tokens)
        };
        let places: Vec<_> = rows.iter().map(place).collect();
        for (index, layer) in self.layers.iter().enumerate() {
            self.attention((index, layer), &places, &plan, store, &mut s, threads)?;
            self.mlp(layer, &mut s, threads)?;
        }
        store.settle();
        let logits = self.logits(spans, &mut s, threads);
        *scratch = s;
        logits
    }

    fn embed(&self, spans: &[Span], s: &mut Scratch) {
        s.x.clear();
        s.angles.clear();
        for span in spans {
            for (i, token) in span.tokens.iter().enumerate() {
                self.embedding.append(*token, self.config.hidden, &mut s.x);
                self.rope.angles(span.start + i, &mut s.angles);
            }
        }
    }

    fn attention(
        &self,
        (index, layer): (usize, &Layer),
        places: &[(BlockId, usize)],
        plan: &Plan,
        store: &mut KvStore,
        s: &mut Scratch,
        threads: &Threads,
    ) -> candle_core::Result<()> {
        let ModelConfig { head_dim, rms_eps, .. } = self.config;
        norm(&s.x, &layer.attn_norm, rms_eps, &mut s.normed, threads);
        let projections = [(&layer.q, &mut s.q), (&layer.k, &mut s.k), (&layer.v, &mut s.v)];
        forward_all(&s.normed, projections, &mut s.quantised, threads)?;
        for (values, weight) in [(&mut s.q, &layer.q_norm), (&mut s.k, &layer.k_norm)] {
            if let Some(weight) = weight {
                norm(values, weight, rms_eps, &mut s.projected, threads);
                std::mem::swap(values, &mut s.projected);
            }
        }
        let (q_width, kv_width) = (layer.q.outputs(), layer.k.outputs());
        for (values, width) in [(&mut s.q, q_width), (&mut s.k, kv_width)] {
            let angles = &s.angles;
            threads.for_rows(values, width, ROTATION_COST, |first, rows| {
                let angles = angles[first * head_dim..].chunks_exact(head_dim);
                for (row, angles) in rows.chunks_exact_mut(width).zip(angles) {
                    self.rope.rotate(row, angles);
                }
            });
        }
        store.write_all(index, places, (&s.k, &s.v), threads);
        s.attended.resize(s.q.len(), 0.0);
        s.attention.attend(plan, &s.q, store, index, &mut s.attended, threads);
        forward_all(&s.attended, [(&layer.o, &mut s.projected)], &mut s.quantised, threads)?;
        add(&mut s.x, &s.projected, self.config.hidden, threads);
        Ok(())
    }

    fn mlp(&self, layer: &Layer, s: &mut Scratch, threads: &Threads) -> candle_core::Result<()> {
        norm(&s.x, &layer.mlp_norm, self.config.rms_eps, &mut s.normed, threads);
        let projections = [(&layer.gate, &mut s.gate), (&layer.up, &mut s.up)];
        forward_all(&s.normed, projections, &mut s.quantised, threads)?;
        let width = self.config.intermediate;
        threads.for_rows(&mut s.gate, width, GATE_COST, |first, gate| {
            kernel::swiglu(gate, &s.up[first * width..][..gate.len()]);
        });
        forward_all(&s.gate, [(&layer.down, &mut s.projected)], &mut s.quantised, threads)?;
        add(&mut s.x, &s.projected, self.config.hidden, threads);
        Ok(())
    }

    fn logits(&self, spans: &[Span], s: &mut Scratch, threads: &Threads) -> candle_core::Result<Vec<f32>> {
        let hidden = self.config.hidden;
        s.projected.clear();
        let mut row = 0;
        for span in spans {
            let end = row + span.tokens.len();
            let first = match span.logits {
                Logits::None => end,
                Logits::Last | Logits::Best { .. } => end - 1,
                Logits::All => row,
            };
            s.projected.extend_from_slice(&s.x[first * hidden..end * hidden]);
            row = end;
        }
        let mut logits = Vec::new();
        if !s.projected.is_empty() {
            norm(&s.projected, &self.final_norm, self.config.rms_eps, &mut s.normed, threads);
            forward_all(&s.normed, [(&self.output, &mut logits)], &mut s.quantised, threads)?;
        }
        Ok(logits)
    }
}

fn norm(x: &[f32], weight: &[f32], eps: f32, y: &mut Vec<f32>, threads: &Threads) {
    let width = weight.len();
    y.resize(x.len(), 0.0);
    threads.for_rows(y, width, NORM_COST, |first, y| {
        kernel::rms_norm(&x[first * width..][..y.len()], weight, eps, y);
    });
}

fn add(x: &mut [f32], y: &[f32], width: usize, threads: &Threads) {
    threads.for_rows(x, width, ADD_COST, |first, x| kernel::add(x, &y[first * width..][..x.len()]));
}

fn vector(source: &mut dyn Source, name: Name, len: usize) -> Result<Vec<f32>, OpenError> {
    let found = source.vector(name, false, len)?;
    found.ok_or_else(|| source.missing(name, &[len]))
}

fn linear(source: &mut dyn Source, name: Name, outputs: usize, inputs: usize) -> Result<Linear, OpenError> {
    let found = source.linear(name, outputs, inputs)?;
    found.ok_or_else(|| source.missing(name, &[outputs, inputs]))
}

fn load_layer(config: &ModelConfig, source: &mut dyn Source, layer: usize) -> Result<Layer, OpenError> {
    let (hidden, inner) = (config.hidden, config.intermediate);
    let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
    let name = |part| Name::Layer(layer, part);
    let per_head_norms = config.architecture == Architecture::Qwen3;
    let mut head_norm =
        |part| per_head_norms.then(|| vector(source, name(part), config.head_dim)).transpose();
    let (q_norm, k_norm) = (head_norm(Part::QNorm)?, head_norm(Part::KNorm)?);
    Ok(Layer {
        attn_norm: vector(source, name(Part::AttnNorm), hidden)?,
        q: linear(source, name(Part::Q), q, hidden)?,
        k: linear(source, name(Part::K), kv, hidden)?,
        v: linear(source, name(Part::V), kv, hidden)?,
        o: linear(source, name(Part::O), hidden, q)?,
        q_norm,
        k_norm,
        mlp_norm: vector(source, name(Part::MlpNorm), hidden)?,
        gate: linear(source, name(Part::Gate), inner, hidden)?,
        up: linear(source, name(Part::Up), inner, hidden)?,
        down: linear(source, name(Part::Down), hidden, inner)?,
    })
}
