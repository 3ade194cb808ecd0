"""Where people stand: boxes, masks and layouts, the image tokens they cover, presets, guide images and previews."""
