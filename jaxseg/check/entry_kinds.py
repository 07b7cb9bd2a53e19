"""What can be wrong with the entries of a COCO file."""

from jaxseg.check.findings import Kind

REFUSED = "Refuses the file: a run stops at its start."
UNUSABLE = "Stops a run at its start; with --data.on-error skip leaves the image out."

BROKEN_JSON = Kind(
    "broken-json",
    "error",
    "files",
    "The annotations file can't be read as COCO; only what came before the fault was checked.",
    REFUSED,
    "Download or export it again; it must be one object with the lists images, annotations and categories.",
)
NO_IMAGES = Kind(
    "no-images", "error", "files", "The file lists no image that can be used.", REFUSED, "Export it again."
)
NO_MASKS = Kind(
    "no-masks",
    "error",
    "files",
    "Not a pixel of a class would be drawn: every mask would be empty.",
    "Goes through, and learns that everything is background.",
    "Mend what else is told of its annotations. Masks are made of polygons or run lengths of listed categories; "
    "captions, keypoints and boxes are no masks.",
)
DUPLICATE_IMAGE = Kind(
    "duplicate-image-id", "error", "images", "Two images have one id.", UNUSABLE, "Give each image an id of its own."
)
BAD_IMAGE_ID = Kind(
    "bad-image-id",
    "error",
    "images",
    "An image has no id, or one that is no whole number.",
    UNUSABLE,
    "Number the images, and write the same number as the annotations' image_id.",
)
BAD_FILE_NAME = Kind(
    "bad-file-name",
    "error",
    "images",
    "An image has no file name, or one that no file can have.",
    UNUSABLE,
    "Write file_name relative to the images folder.",
)
ESCAPES = Kind(
    "file-name-escapes",
    "error",
    "images",
    "A file name leaves the images folder.",
    "Refuses to read it: stops a run at that image; with --data.on-error skip its sample weighs nothing.",
    "Write file_name relative to the images folder, without '..' and without a drive or leading slash.",
)
SHARED_FILE = Kind(
    "shared-file",
    "error",
    "images",
    "Two entries name one file.",
    "Takes them for two images: each gets a mask of its own annotations only, and what the other holds is taught as "
    "background.",
    "Keep one entry, and give it the annotations of both.",
)
BAD_SIZE = Kind(
    "bad-image-size",
    "error",
    "images",
    "An image's height or width is missing, or no whole number above zero.",
    UNUSABLE,
    "Write the size of the image file in pixels.",
)
HUGE = Kind(
    "absurd-image-size",
    "error",
    "images",
    "An image is said to have more pixels than jaxseg decodes.",
    "Stops a run, at its start or at that image; with --data.on-error skip leaves it out.",
    "Write its true size; cut truly huge pictures into tiles.",
)
DUPLICATE_CATEGORY = Kind(
    "duplicate-category-id",
    "error",
    "categories",
    "Two categories have one id.",
    "Stops a run at its start; with --data.on-error skip goes by the first, which then has the annotations of both.",
    "Give each category an id of its own.",
)
BAD_CATEGORY = Kind(
    "bad-category",
    "error",
    "categories",
    "A category has no whole number as its id, or no text as its name.",
    "Stops a run at its start; with --data.on-error skip leaves the category out, and its annotations are of none.",
    'Write {"id": 1, "name": "cat"}.',
)
BAD_ANNOTATION_ID = Kind(
    "bad-annotation-id",
    "warning",
    "annotations",
    "An annotation has no id, or one that is no whole number.",
    "Draws it, and says so at the start of a run; its id is told as -1.",
    "Number the annotations.",
)
DUPLICATE_ANNOTATION = Kind(
    "duplicate-annotation-id",
    "warning",
    "annotations",
    "Two annotations have one id.",
    "Draws both, and says so at the start of a run.",
    "Number the annotations anew; pycocotools keeps only one of them.",
)
UNKNOWN_IMAGE = Kind(
    "unknown-image",
    "warning",
    "annotations",
    "An annotation belongs to an image that the file does not list.",
    "Leaves it out, and says so at the start of a run.",
    "Add the image, or take the annotation out. Text is no number: image_id must be written as the image's id is.",
)
UNKNOWN_CATEGORY = Kind(
    "unknown-category",
    "warning",
    "annotations",
    "An annotation has a category that the file does not list, or whose entry can't be used.",
    "Takes it as background, and says so at the start; see data.unknown_category.",
    "Add the category, or mend the annotation's category_id.",
)
CROWD_FLAG = Kind(
    "crowd-flag",
    "warning",
    "annotations",
    "An iscrowd flag is neither 0 nor 1.",
    "Takes it as 0, and says so at the start of a run.",
    "Write 0 or 1.",
)
CROWD_POLYGON = Kind(
    "crowd-polygon",
    "note",
    "annotations",
    "A crowd is given as polygons.",
    "Draws it as a crowd: see data.crowds.",
    "Nothing, if it is one; COCO itself gives crowds as run lengths.",
)
RLE_NOT_CROWD = Kind(
    "rle-not-crowd",
    "note",
    "annotations",
    "A single object is given as run lengths.",
    "Draws it as an object.",
    "Nothing, if it is one; COCO itself uses run lengths for crowds.",
)
BAD_BOX = Kind(
    "bad-box",
    "note",
    "annotations",
    "A box is not four finite numbers, or its width or height is negative.",
    "Nothing: jaxseg uses no boxes.",
    "Write [x, y, width, height].",
)
BAD_AREA = Kind(
    "bad-area",
    "note",
    "annotations",
    "An area is not a finite number of at least zero.",
    "Nothing: jaxseg measures areas itself.",
    "Write the mask's pixels.",
)
