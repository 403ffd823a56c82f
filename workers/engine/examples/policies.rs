//! Eviction policies side by side on 8 templates × 64 documents, at several memory sizes, and what bringing blocks ahead
//! of need adds:
//! `cargo run -p bul-engine --release --example policies`.

use bul_engine::{Eviction, PolicyWorkload, compare_policies, compare_prefetch};

fn main() {
    let base = PolicyWorkload::default();
    println!(
        "{} templates × {} documents, {} + {} tokens in, {} out, blocks of {}; hit rate of prompt tokens",
        base.templates,
        base.documents,
        base.prefix_tokens,
        base.data_tokens,
        base.output_tokens,
        base.block_tokens
    );
    print!("{:>8}", "blocks");
    for policy in Eviction::ALL {
        print!("{:>11}", policy.name());
    }
    println!("{:>18}", "planned / lru");
    for blocks in [200, 300, 400, 500, 600, 800, 1000, 1200, 2000] {
        let rates = compare_policies(&PolicyWorkload { blocks, ..base }, &Eviction::ALL);
        print!("{blocks:>8}");
        for rate in &rates {
            print!("{:>10.1}%", rate.hit_rate() * 100.0);
        }
        let of =
            |policy: Eviction| rates.iter().find(|r| r.policy == policy.name()).map_or(0, |r| r.hit_tokens);
        let (lru, planned) = (of(Eviction::Lru), of(Eviction::Planned));
        println!("{:>+17.1}%", (planned as f64 / lru.max(1) as f64 - 1.0) * 100.0);
    }
    println!(
        "\nprompt tokens found on the device, the next documents announced: without and with looking ahead"
    );
    for (templates, blocks, window) in [
        (8, 400, 16),
        (8, 400, 1000),
        (8, 600, 16),
        (8, 600, 64),
        (8, 600, 1000),
        (8, 1000, 16),
        (16, 600, 16),
        (16, 600, 1000),
        (32, 600, 8),
        (32, 600, 1000),
        (32, 1000, 16),
        (32, 1000, 1000),
    ] {
        let documents = base.templates * base.documents / templates;
        let rate = compare_prefetch(&PolicyWorkload { templates, documents, blocks, ..base }, window);
        let share = |tokens: u64| tokens as f64 / rate.prompt_tokens as f64 * 100.0;
        println!(
            "{templates:>3} templates {blocks:>5} blocks, {window:>4} announced: {:>5.1}% {:>5.1}% {:>+5.0}%, {:.0}% of the \
             blocks for nothing",
            share(rate.without.0),
            share(rate.with.0),
            rate.gain() * 100.0,
            rate.wasted_blocks as f64 / rate.brought_blocks.max(1) as f64 * 100.0
        );
    }
}
