//! scratch
use bul_template::*;
fn main() {
    let c = Catalog::builtin().unwrap();
    let a: Vec<String> = std::env::args().collect();
    for f in &a[3..] {
        let v: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(f).unwrap()).unwrap();
        let data = v.as_object().unwrap();
        let t = std::time::Instant::now();
        let o = Order {
            template: &a[1],
            query: None,
            business_area: None,
            doc_type: None,
            data,
            context: None,
            language: &a[2],
            date: Default::default(),
        };
        match c.plan(&o) {
            Err(e) => println!("{f}: {e} {:?}", e.fields()),
            Ok(mut p) => {
                if p.outline().is_some() {
                    p.expand(&[]).unwrap();
                }
                let texts = p.slots().iter().map(|s| (s.id.clone(), placeholder_prose(s))).collect();
                for s in p.slots() {
                    println!("--- {}\n{}", s.id, s.user);
                }
                let d = p.assemble(&texts).unwrap();
                println!("{f}: {} {:?} {:?}", d.document.meta.title, t.elapsed(), d.findings);
                if std::env::var("FULL").is_ok() {
                    println!(
                        "{}",
                        String::from_utf8(bul_document::write_markdown(&d.document).into()).unwrap()
                    );
                }
            }
        }
    }
}
