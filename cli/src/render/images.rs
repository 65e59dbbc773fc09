//! The images that analyses left, as files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use gauntlet_domain::analyses::ImageRow;

/// Writes each image to `folder/ANALYSIS/RUN/IMAGE.png`.
///
/// # Errors
/// The folder cannot be written.
pub fn write_images(images: &[ImageRow], folder: &Path) -> anyhow::Result<()> {
    for image in images {
        let path = folder.join(place(image));
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).with_context(|| format!("{} cannot be made", parent.display()))?;
        fs::write(&path, &image.png).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(())
}

/// Where an image lies. Names come from elsewhere, so none may lead out of the folder.
fn place(image: &ImageRow) -> PathBuf {
    let ImageRow { dataset, backbone, init, recipe, seed, .. } = image;
    let mut run = format!("{dataset}-{backbone}-{init}-{recipe}-seed-{seed}");
    if !image.against.is_empty() {
        run = format!("{run}-against-{}", image.against);
    }
    [plain(&format!("{}-images", image.analysis)), plain(&run), format!("{}.png", plain(&image.image))].iter().collect()
}

fn plain(name: &str) -> String {
    let text = name.replace(" · ", "-").replace(' ', "-");
    text.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(analysis: &str, against: &str, name: &str) -> ImageRow {
        ImageRow {
            sweep: "s-1a2b3c4d".to_owned(),
            dataset: "glyphs".to_owned(),
            backbone: "resnet18-w16".to_owned(),
            init: "pretrained".to_owned(),
            recipe: "standard".to_owned(),
            seed: 1,
            analysis: analysis.to_owned(),
            against: against.to_owned(),
            image: name.to_owned(),
            png: b"png".to_vec(),
        }
    }

    #[test]
    fn every_run_has_a_folder_of_its_images() {
        let folder = tempfile::tempdir().unwrap();
        let rows = [image("uap", "scratch · standard · seed 1", "own"), image("uap", "", "own")];
        write_images(&rows, folder.path()).unwrap();
        let run = folder.path().join("uap-images/glyphs-resnet18-w16-pretrained-standard-seed-1");
        assert_eq!(fs::read(run.join("own.png")).unwrap(), b"png");
        let against =
            run.with_file_name("glyphs-resnet18-w16-pretrained-standard-seed-1-against-scratch-standard-seed-1");
        assert_eq!(fs::read(against.join("own.png")).unwrap(), b"png");
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        for hostile in ["../../etc", "/etc/passwd", "a/../../b", "..", "a\0b"] {
            let path = place(&image(hostile, hostile, hostile));
            let inside = |part: std::path::Component<'_>| matches!(part, std::path::Component::Normal(_));
            assert!(path.components().all(inside) && path.components().count() == 3, "{}", path.display());
        }
    }
}
