//! How many images per second the loader gives, in one line of JSON. See `scripts/bench/image_loading.py`, which runs its peer too.
//!
//! `image_loading FOLDER train|eval THREADS BATCH EPOCHS`

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use gauntlet_data::{Frame, ImageFolder, Loader, Places, Size, View, Wanted, inspect};
use gauntlet_domain::experiment::{DatasetSource, DatasetSpec, Fit, ImageShape, Subset};
use gauntlet_domain::sweep::{FileContent, FileRole};

const SIDE: u32 = 224;
const RESIZE: u32 = 256;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [root, what, threads, batch, epochs] = arguments.as_slice() else {
        return Err("expected: FOLDER train|eval THREADS BATCH EPOCHS".into());
    };
    let (threads, batch, epochs): (usize, usize, usize) = (threads.parse()?, batch.parse()?, epochs.parse()?);
    let facts = inspect(FileRole::ImageFolder { or_val: false }, root.as_ref())?;
    let FileContent::ImageFolder { classes } = facts.content else { return Err("not a folder of images".into()) };
    let spec = DatasetSpec {
        subset: Subset::default(),
        source: DatasetSource::Folder { manifest: facts.digest, part: None },
        examples: classes.iter().map(|class| class.examples).sum(),
        classes: classes.len() as u32,
        image: ImageShape { channels: 3, height: SIDE, width: SIDE },
        fit: Fit::Crop { resize: RESIZE },
        frequencies: None,
    };
    let places = Places { files: [(facts.digest, root.into())].into(), ..Places::default() };
    let folder = Arc::new(ImageFolder::open(&spec, &places, threads)?);
    let mut numbers = Numbers(1);
    let mut images = 0;
    // The sum keeps anybody from leaving out the work, and the conversion to floats is part of what a DataLoader does.
    let mut sum = 0.0;
    let start = Instant::now();
    for _ in 0..epochs {
        let mut loader = Loader::new(Arc::clone(&folder), threads);
        let order = numbers.shuffled(folder.examples());
        let mut batches = order.chunks(batch);
        loop {
            while loader.has_room()
                && let Some(examples) = batches.next()
            {
                let wanted =
                    |example: &usize| Wanted { example: *example, view: view(what, &folder, *example, &mut numbers) };
                loader.ask(&examples.iter().map(wanted).collect::<Vec<_>>())?;
            }
            let Some(pixels) = loader.take() else { break };
            let pixels: Vec<f32> = pixels?.into_iter().map(|pixel| f32::from(pixel) / 255.0).collect();
            sum += f64::from(pixels[pixels.len() / 2]);
            images += pixels.len() / (3 * SIDE * SIDE) as usize;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{{\"images\": {images}, \"seconds\": {seconds}, \"check\": {sum}}}");
    Ok(())
}

/// Whole images, or torchvision's `RandomResizedCrop` and a flip.
fn view(what: &str, folder: &ImageFolder, example: usize, numbers: &mut Numbers) -> View {
    if what == "eval" {
        return View::default();
    }
    let size = folder.size(example);
    let (width, height) = (f64::from(size.width), f64::from(size.height));
    let mirror = numbers.unit() < 0.5;
    for _ in 0..10 {
        let area = width * height * (0.08 + 0.92 * numbers.unit());
        let aspect = (0.75_f64.ln() * (1.0 - 2.0 * numbers.unit())).exp();
        let part = Size { width: (area * aspect).sqrt().round() as u32, height: (area / aspect).sqrt().round() as u32 };
        if (1..=size.width).contains(&part.width) && (1..=size.height).contains(&part.height) {
            let left = (numbers.unit() * f64::from(size.width - part.width + 1)) as u32;
            let top = (numbers.unit() * f64::from(size.height - part.height + 1)) as u32;
            return View { frame: Frame::Part { left, top, size: part }, mirror };
        }
    }
    View { frame: Frame::Fitted, mirror }
}

/// Numbers that look random (Marsaglia's xorshift64).
struct Numbers(u64);

impl Numbers {
    /// In [0,1).
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn shuffled(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            order.swap(last, (self.unit() * (last + 1) as f64) as usize);
        }
        order
    }
}
