use std::fs;

use gauntlet_domain::TaskId;

use super::*;

fn task(name: &str) -> TaskId {
    TaskId::from_digest(Digest::of(name.as_bytes()))
}

struct Place {
    folder: tempfile::TempDir,
    artifacts: Artifacts,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::open(folder.path().join("store").to_str().unwrap()).unwrap();
        fs::create_dir(folder.path().join("cache")).unwrap();
        Self { folder, artifacts }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    fn stored(&self, artifact: &ArtifactRef) -> PathBuf {
        self.path("store").join(artifact_path(&artifact.digest).as_ref())
    }

    fn cache(&self, max_bytes: u64) -> Cache {
        Cache::open(self.path("cache"), max_bytes).unwrap()
    }
}

#[tokio::test]
async fn an_artifact_comes_back_as_it_was_put_however_large() {
    let place = Place::new();
    let large: Vec<u8> = (0..3 * CHUNK_BYTES + 17).map(|index| (index % 251) as u8).collect();
    for content in [b"".as_slice(), b"weights", &large] {
        let file = place.file("weights", content);
        let artifact = place.artifacts.put(&file).await.unwrap();
        assert_eq!(artifact, ArtifactRef { digest: Digest::of(content), size_bytes: content.len() as u64 });
        place.artifacts.put(&file).await.unwrap();
        place.artifacts.fetch(&artifact, &place.path("copy")).await.unwrap();
        assert!(fs::read(place.path("copy")).unwrap() == content);
    }
}

#[tokio::test]
async fn an_artifact_whose_content_has_changed_is_refused_and_leaves_nothing() {
    let place = Place::new();
    let artifact = place.artifacts.put(&place.file("weights", b"weights")).await.unwrap();
    fs::write(place.stored(&artifact), b"WEIGHTS").unwrap();
    let error = place.artifacts.fetch(&artifact, &place.path("copy")).await.unwrap_err().to_string();
    assert!(error.contains("damaged: its SHA-256 is"), "{error}");
    fs::write(place.stored(&artifact), b"weights and more").unwrap();
    let error = place.artifacts.fetch(&artifact, &place.path("copy")).await.unwrap_err().to_string();
    assert!(error.contains("damaged: 16 bytes instead of 7"), "{error}");
    assert!(!place.path("copy").exists() && !place.path("copy.partial").exists());
}

#[tokio::test]
async fn an_artifact_that_is_not_there_is_named_with_the_store() {
    let place = Place::new();
    let absent = ArtifactRef { digest: Digest::of(b"absent"), size_bytes: 6 };
    let error = place.artifacts.fetch(&absent, &place.path("copy")).await.unwrap_err().to_string();
    assert!(error.contains(&absent.digest.to_string()) && error.contains("is not in the artifact store"), "{error}");
}

#[tokio::test]
async fn a_cached_checkpoint_is_used_without_the_store_until_it_is_damaged() {
    let place = Place::new();
    let cache = place.cache(1 << 20);
    let artifact = place.artifacts.put(&place.file("weights", b"weights")).await.unwrap();
    cache.obtain(&place.artifacts, task("a"), &artifact, &place.path("first")).await.unwrap();
    assert_eq!(cache.held_tasks(), [task("a")]);

    fs::remove_file(place.stored(&artifact)).unwrap();
    cache.obtain(&place.artifacts, task("a"), &artifact, &place.path("second")).await.unwrap();
    assert_eq!(fs::read(place.path("second")).unwrap(), b"weights");

    fs::remove_file(place.path("cache").join(format!("{}-{}", task("a"), artifact.digest))).unwrap();
    place.file(&format!("cache/{}-{}", task("a"), artifact.digest), b"garbage");
    place.artifacts.put(&place.path("first")).await.unwrap();
    cache.obtain(&place.artifacts, task("a"), &artifact, &place.path("third")).await.unwrap();
    assert_eq!(fs::read(place.path("third")).unwrap(), b"weights");
}

#[tokio::test]
async fn the_cache_lets_the_longest_unused_go_but_not_from_under_its_user() {
    let place = Place::new();
    let cache = place.cache(16);
    for name in ["a", "b", "c"] {
        let artifact = place.artifacts.put(&place.file(name, &[name.as_bytes()[0]; 7])).await.unwrap();
        cache.obtain(&place.artifacts, task(name), &artifact, &place.path(&format!("link-{name}"))).await.unwrap();
        // Times of use tell apart only what the file system's clock does.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let mut held = cache.held_tasks();
    held.sort();
    let mut expected = [task("b"), task("c")];
    expected.sort();
    assert_eq!(held, expected);
    assert_eq!(fs::read(place.path("link-a")).unwrap(), b"aaaaaaa");
}

#[test]
fn a_store_that_this_build_does_not_know_is_refused_with_what_it_knows() {
    let error = Artifacts::open("s3://bucket/artifacts").unwrap_err().to_string();
    assert_eq!(
        error,
        "worker setting `artifact_store`: `s3://` is not supported: this build supports a folder, as a path or as `file:///path`"
    );
    assert!(Artifacts::open("file://relative").is_err());
}
