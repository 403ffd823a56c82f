//! Documents that are written to be compared.

use std::collections::BTreeMap;

use crate::Server;

/// Has a document of each area and type written, with one seed, into a folder of the server's home; what came of it, by file name
/// without the job's id.
#[track_caller]
pub fn written(server: &Server, areas: [(&str, &str); 3], folder: &str) -> BTreeMap<String, String> {
    let jobs: String = areas
        .iter()
        .map(|(area, kind)| {
            format!(
                "{{\"query\": \"Plan of the year\", \"business_area\": \"{area}\", \"doc_type\": \"{kind}\", \"formats\": [\"md\"], \"params\": {{\"seed\": 7}}}}\n"
            )
        })
        .collect();
    let file = server.home().join("jobs.jsonl");
    std::fs::write(&file, jobs).expect("a file can be written");
    let out = server.home().join(folder);
    let arguments = ["submit", &file.display().to_string(), "--wait", "--out", &out.display().to_string()];
    server.cli(&arguments).expect(0);
    let texts: BTreeMap<String, String> = std::fs::read_dir(out)
        .expect("documents")
        .map(|entry| {
            let path = entry.expect("a file").path();
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let name = name.rsplit_once('-').expect("an id at its end").0.to_owned();
            (name, std::fs::read_to_string(path).expect("a text"))
        })
        .collect();
    assert_eq!(texts.len(), areas.len(), "{texts:?}");
    texts
}
