"""Everything WithAnyone knows about faces, boxes, schedules and its network; usable without ComfyUI."""
