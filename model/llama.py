"""A small Llama in PyTorch with the parameter names of the Hugging Face layout."""

import json

import torch
import torch.nn.functional as F
from torch import nn

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 1024,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "rope_scaling": None,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "mlp_bias": False,
    "initializer_range": 0.02,
    "tie_word_embeddings": True,
    "use_cache": True,
    "vocab_size": 3072,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
    "torch_dtype": "float16",
}


class Norm(nn.Module):
    def __init__(self, dim, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x):
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat((-b, a), -1) * sin


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        d, self.h, self.kv, self.hd = c["hidden_size"], c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
        self.q_proj = nn.Linear(d, self.h * self.hd, bias=False)
        self.k_proj = nn.Linear(d, self.kv * self.hd, bias=False)
        self.v_proj = nn.Linear(d, self.kv * self.hd, bias=False)
        self.o_proj = nn.Linear(self.h * self.hd, d, bias=False)

    def forward(self, x, cos, sin, mask, cache):
        b, t, _ = x.shape
        q = rotate(self.q_proj(x).view(b, t, self.h, self.hd).transpose(1, 2), cos, sin)
        k = rotate(self.k_proj(x).view(b, t, self.kv, self.hd).transpose(1, 2), cos, sin)
        v = self.v_proj(x).view(b, t, self.kv, self.hd).transpose(1, 2)
        if cache is not None:
            if cache:
                k, v = torch.cat((cache[0], k), 2), torch.cat((cache[1], v), 2)
            cache[:] = [k, v]
        n = self.h // self.kv
        k = k[:, :, None].expand(-1, -1, n, -1, -1).reshape(b, self.h, -1, self.hd)
        v = v[:, :, None].expand(-1, -1, n, -1, -1).reshape(b, self.h, -1, self.hd)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.o_proj(y.transpose(1, 2).reshape(b, t, -1))


class Mlp(nn.Module):
    def __init__(self, c):
        super().__init__()
        d, f = c["hidden_size"], c["intermediate_size"]
        self.gate_proj = nn.Linear(d, f, bias=False)
        self.up_proj = nn.Linear(d, f, bias=False)
        self.down_proj = nn.Linear(f, d, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.input_layernorm = Norm(c["hidden_size"], c["rms_norm_eps"])
        self.self_attn = Attention(c)
        self.post_attention_layernorm = Norm(c["hidden_size"], c["rms_norm_eps"])
        self.mlp = Mlp(c)

    def forward(self, x, cos, sin, mask, cache):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class Inner(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embed_tokens = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.layers = nn.ModuleList(Layer(c) for _ in range(c["num_hidden_layers"]))
        self.norm = Norm(c["hidden_size"], c["rms_norm_eps"])


class Llama(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.config = c
        self.model = Inner(c)
        inv = 1.0 / c["rope_theta"] ** (torch.arange(0, c["head_dim"], 2).float() / c["head_dim"])
        angle = torch.arange(c["max_position_embeddings"]).float()[:, None] * inv
        angle = torch.cat((angle, angle), -1)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                scale = 0.02 if "embed" in name else 0.6 / p.shape[1] ** 0.5
                if name.endswith(("o_proj.weight", "down_proj.weight")):
                    scale /= (2 * c["num_hidden_layers"]) ** 0.5
                nn.init.normal_(p, std=scale)

    def hidden(self, ids, pos, mask, caches=None):
        x = self.model.embed_tokens(ids)
        cos, sin = self.cos[pos][:, None], self.sin[pos][:, None]
        for i, layer in enumerate(self.model.layers):
            x = layer(x, cos, sin, mask, None if caches is None else caches[i])
        return self.model.norm(x)

    def head(self, h):
        return h @ self.model.embed_tokens.weight.T

    @torch.no_grad()
    def generate(self, prompt, limit, end, temperature=0.0, top_p=0.9, generator=None):
        """Token ids after the prompt; greedy for temperature 0."""
        caches = [[] for _ in self.model.layers]
        ids, pos, out = torch.tensor([prompt]), torch.arange(len(prompt))[None], []
        mask = torch.ones(len(prompt), len(prompt), dtype=torch.bool).tril()
        while len(out) < limit:
            logits = self.head(self.hidden(ids, pos, mask, caches)[0, -1])
            if temperature == 0:
                token = int(logits.argmax())
            else:
                p, order = torch.softmax(logits / temperature, -1).sort(descending=True)
                p[p.cumsum(-1) - p > top_p] = 0
                token = int(order[torch.multinomial(p, 1, generator=generator)])
            if token == end:
                break
            out.append(token)
            ids, pos, mask = torch.tensor([[token]]), pos[:, -1:] + 1, None
        return out


def load_weights(folder):
    """The exported model, upcast to f32."""
    from safetensors.torch import load_file

    with open(f"{folder}/config.json") as f:
        config = json.load(f)
    model = Llama(config)
    state = {k: v.float() for k, v in load_file(f"{folder}/model.safetensors").items()}
    model.load_state_dict(state, strict=True)
    return model.eval()
